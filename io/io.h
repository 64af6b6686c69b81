// Everything of io/.
#pragma once

#include <rill/io/atomic_file.h>
#include <rill/io/csv.h>
#include <rill/io/idx.h>
#include <rill/io/npy.h>
#include <rill/io/safetensors.h>
#include <rill/io/text_file.h>
