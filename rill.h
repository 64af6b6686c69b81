// Everything that Rill offers: include this, or the single headers that it names.
#pragma once

#include <rill/core/core.h>
#include <rill/hippo/hippo.h>
#include <rill/io/io.h>
#include <rill/rnn/rnn.h>
#include <rill/scan/scan.h>
#include <rill/ssm/ssm.h>
