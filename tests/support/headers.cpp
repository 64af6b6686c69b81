// The precompiled headers of the tests belong to this program; it has no test.
#include "catch.h"
