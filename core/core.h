// All of core.
#pragma once

#include <rill/core/archive.h>
#include <rill/core/cpu_target.h>
#include <rill/core/dtype.h>
#include <rill/core/error.h>
#include <rill/core/exec.h>
#include <rill/core/layer.h>
#include <rill/core/layer_type.h>
#include <rill/core/memory.h>
#include <rill/core/op_kinds.h>
#include <rill/core/ops.h>
#include <rill/core/options.h>
#include <rill/core/parameter.h>
#include <rill/core/random.h>
#include <rill/core/seq_args.h>
#include <rill/core/sequence.h>
#include <rill/core/shape.h>
#include <rill/core/state.h>
#include <rill/core/stepper.h>
#include <rill/core/tape.h>
#include <rill/core/tensor.h>
#include <rill/core/thread_pool.h>
#include <rill/core/version.h>
