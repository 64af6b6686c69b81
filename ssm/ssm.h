// State-space layers.
#pragma once

#include <rill/ssm/mamba.h>
