// State-space layers.
#pragma once

#include <rill/ssm/mamba.h>
#include <rill/ssm/s4d.h>
