#!/usr/bin/env bash
# Users' builds: installs Rill, moves the tree, and builds and runs a user's program against it in every way of linking.
#   consume.sh STEP SOURCE BUILD SCRATCH     (SOURCE: Rill's tree, BUILD: a whole build of it)
# Each step is one CTest test. The steps on an installed tree need `install` or `subdirectory` to have run before.
set -euo pipefail
step=$1 source=$2 build=$3 scratch=$4
mkdir -p "$scratch"
cd "$scratch"
unset LD_LIBRARY_PATH

quietly() {  # LOG COMMAND...: the output goes to a file, and is shown where the command fails
  local log=$1
  shift
  "$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
}
install_from() {  # BUILD NAME: installed under one name, moved to another
  rm -rf at-first "$2"
  quietly "install-$2.log" cmake --install "$1" --prefix "$PWD/at-first"
  mv at-first "$2"
}
consume() {  # NAME CMAKE_OPTION...
  local name=$1
  shift
  quietly "$name.log" cmake -G Ninja -S "$source/tests/consumer/src" -B "$name" "$@"
  quietly "$name.log" cmake --build "$name" --parallel 2
  "$name/consumer"
}

case $step in
  install)
    install_from "$build" moved
    moved/bin/rill --version ;;
  find-package)
    consume find-package -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$PWD/moved" ;;
  pkg-config)
    export PKG_CONFIG_PATH
    PKG_CONFIG_PATH=$(dirname "$(find "$PWD/moved" -name rill.pc)")
    # shellcheck disable=SC2046  # flags are words
    "${CXX:-g++}" -std=c++20 "$source/tests/consumer/src/main.cpp" -o pkg-config-consumer \
      $(pkg-config --static --cflags --libs rill)
    ./pkg-config-consumer ;;
  not-found)  # without what a static Rill is linked with, find_package says so and the user's project goes on
    rm -rf not-found
    PKG_CONFIG_LIBDIR=$PWD quietly not-found.log cmake -G Ninja -S "$source/tests/consumer/src" -B not-found \
      -DCMAKE_PREFIX_PATH="$PWD/moved" -DCONSUMER_EXPECTS_NONE=ON
    grep "needs Highway" not-found.log ;;
  subdirectory)  # as a shared library, and quick to build: neither optimised nor for every vector target
    consume subdirectory -DRILL_SOURCE="$source" -DCMAKE_BUILD_TYPE=Debug -DBUILD_SHARED_LIBS=ON -DRILL_INSTALL=ON \
      -DRILL_BUILD_CLI=ON -DRILL_CPU_TARGETS=avx2
    install_from subdirectory moved-shared ;;
  find-package-shared)
    consume find-package-shared -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$PWD/moved-shared"
    moved-shared/bin/rill --version ;;
  *)
    echo "There is no step $step" >&2
    exit 2 ;;
esac
