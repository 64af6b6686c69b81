// Scans: operators, algorithms and the sequence ops that families of layers share.
#pragma once

#include <rill/scan/affine_scan.h>
#include <rill/scan/algorithms.h>
#include <rill/scan/block_linear.h>
#include <rill/scan/causal_conv.h>
#include <rill/scan/delta_rule.h>
#include <rill/scan/diagonal_ssm.h>
#include <rill/scan/linear_attention.h>
#include <rill/scan/mlstm_scan.h>
#include <rill/scan/operators.h>
#include <rill/scan/rotary.h>
#include <rill/scan/selective_scan.h>
