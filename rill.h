// Everything that Rill offers: include this, or the single headers that it names.
#pragma once

#include <rill/core/core.h>
#include <rill/hippo/hippo.h>
#include <rill/io/io.h>
#include <rill/model/model.h>
#include <rill/model/registry.h>
#include <rill/model/sampler.h>
#include <rill/rnn/rnn.h>
#include <rill/scan/scan.h>
#include <rill/ssm/ssm.h>
#include <rill/train/dataset.h>
#include <rill/train/evaluate.h>
#include <rill/train/objective.h>
#include <rill/train/optimizer.h>
#include <rill/train/trainer.h>
