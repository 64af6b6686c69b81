"""What a bare CUDA machine lacks to build Rill, taken from this machine's Debian packages into one folder.

`scripts/gpu_check --pack` calls it. Headers keep their places below .gpu_pack/usr, so that the packages' own CMake files
find them; libraries without such files lie in usr/lib. pack.cmake (cmake -C) says where everything is.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# Package -> the files of it that are packed (a pattern of their paths).
PACKAGES = {
    "libeigen3-dev": r"/usr/include/eigen3/(unsupported/)?(Eigen|signature)|/usr/share/eigen3/cmake/",
    "libfmt-dev": r"/usr/include/fmt/|/cmake/fmt/|/libfmt\.so$",
    "libfmt9": r"/libfmt\.so",
    "nlohmann-json3-dev": r"/usr/include/|/usr/share/cmake/",
    "libcli11-dev": r"/usr/include/|/usr/share/cmake/",
    "catch2": r"/usr/include/|/usr/lib/cmake/|/usr/lib/.*\.a$",
    "libhwy-dev": r"/usr/include/hwy/",
    "zlib1g-dev": r"/usr/include/.*\.h$",
    "libkissfft-dev": r"/usr/include/",
}
# Linked by name: they lie in usr/lib, under the name that the linker looks for and the one that programs ask for.
LIBRARIES = ("libhwy.so", "libz.a", "libboost_context.a")
BOOST = "boost/context/detail/fcontext.hpp"  # of Boost, what the execution model's header needs
MOST_BYTES = 40 << 20

PACK_CMAKE = """# Where the packed dependencies are: cmake -C .gpu_pack/pack.cmake ...
set(usr ${CMAKE_CURRENT_LIST_DIR}/usr)
set(CMAKE_PREFIX_PATH ${usr} CACHE PATH "")
set(Eigen3_DIR ${usr}/share/eigen3/cmake CACHE PATH "")
set(fmt_DIR ${usr}/lib/MULTIARCH/cmake/fmt CACHE PATH "")
set(nlohmann_json_DIR ${usr}/share/cmake/nlohmann_json CACHE PATH "")
set(CLI11_DIR ${usr}/share/cmake/CLI11 CACHE PATH "")
set(Catch2_DIR ${usr}/lib/cmake/Catch2 CACHE PATH "")
set(ZLIB_INCLUDE_DIR ${usr}/include CACHE PATH "")
set(ZLIB_LIBRARY ${usr}/lib/libz.a CACHE FILEPATH "")
set(RILL_KISSFFT_INCLUDE ${usr}/include CACHE PATH "")
set(RILL_BOOST_CONTEXT ${usr}/lib/libboost_context.a CACHE FILEPATH "")
set(RILL_HWY_INCLUDE ${usr}/include CACHE PATH "")
set(RILL_HWY_LIBRARY ${usr}/lib/libhwy.so CACHE FILEPATH "")
"""


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def copy(source, target):
    """Files, and what links lead to: a copy of the folder may lose links."""
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def pack_packages(folder, multiarch):
    for package, pattern in PACKAGES.items():
        for line in output_of("dpkg", "-L", package).splitlines():
            if re.search(pattern, line):
                # Headers for this architecture lie beside the others: not every compiler looks into its folder.
                copy(pathlib.Path(line), folder / line.replace(f"/usr/include/{multiarch}/", "/usr/include/").lstrip("/"))


def pack_libraries(folder, multiarch):
    for name in LIBRARIES:
        library = pathlib.Path("/usr/lib") / multiarch / name
        target = folder / "usr" / "lib" / name
        copy(library, target)
        if name.endswith(".so"):
            soname = re.search(r"SONAME\s+(\S+)", output_of("objdump", "-p", str(library)))[1]
            copy(library, target.with_name(soname))


def pack_boost(folder):
    """The headers that one header of Boost includes, as the compiler lists them."""
    with tempfile.NamedTemporaryFile("w", suffix=".cpp") as source:
        source.write(f"#include <{BOOST}>\n")
        source.flush()
        listed = output_of("g++", "-std=c++20", "-M", source.name).replace("\\\n", " ").split()
    for header in listed:
        if header.startswith("/usr/include/boost/"):
            copy(pathlib.Path(header), folder / header.lstrip("/"))


def pack(folder):
    multiarch = output_of("g++", "-print-multiarch").strip()
    shutil.rmtree(folder, ignore_errors=True)
    try:
        pack_packages(folder, multiarch)
        pack_libraries(folder, multiarch)
        pack_boost(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"--pack takes the packages of scripts/setup on Debian: {error}")
    (folder / "pack.cmake").write_text(PACK_CMAKE.replace("MULTIARCH", multiarch))
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    size = sum(path.stat().st_size for path in files)
    print(f"{folder}: {len(files)} files, {size / (1 << 20):.1f} MiB")
    if size > MOST_BYTES:
        sys.exit(f"That is more than {MOST_BYTES >> 20} MiB.")
