// Measures and transition matrices, normal plus low-rank forms, discretisation, kernels, initial
// values of state spaces, online memories and reconstruction of the past. All in double precision.
#pragma once

#include <rill/hippo/diagonal_init.h>
#include <rill/hippo/discretize.h>
#include <rill/hippo/kernel.h>
#include <rill/hippo/matrix.h>
#include <rill/hippo/nplr.h>
#include <rill/hippo/online_memory.h>
#include <rill/hippo/reconstruct.h>
#include <rill/hippo/structured.h>
#include <rill/hippo/transition.h>
