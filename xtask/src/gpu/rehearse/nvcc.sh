#!/bin/sh
# Stands where nvcc is looked for when a CUDA build is made for a rehearsal on the processor (`cargo xtask gpu rehearse`).
#
# What it writes as machine code is one line that names the source; the stand-in for the driver (driver.cpp) reads it and
# takes the kernels that were compiled from that source for the processor. Of candle's kernels that are linked rather
# than loaded (quantised and mixture-of-experts networks, which ppkt has not) only the names are there: each ends the
# program and says so.
set -e
mode= out= folder=. source= objects=
while [ $# -gt 0 ]; do
  case "$1" in
    --version) echo 'Cuda compilation tools, release 13.0, V13.0.88'; exit 0 ;;
    --list-gpu-code) printf 'sm_80\nsm_90\n'; exit 0 ;;
    -o) out=$2; shift ;;
    --output-directory) folder=$2; shift ;;
    --ptx | --fatbin | --lib | -c) mode=$1 ;;
    *.cu) source=$1 ;;
    *.o) objects="$objects $1" ;;
  esac
  shift
done
case "$mode" in
  --ptx | --fatbin)
    path=$(realpath "$source")
    [ -n "$out" ] || out="$folder/$(basename "$source" .cu).ptx"
    echo "kernels for a rehearsal: $path" > "$out" ;;
  -c)
    # All names come with the first of the sources, the others are empty.
    {
      echo '#include <stdio.h>'
      echo '#include <stdlib.h>'
      case "$source" in
        */moe_gguf.cu)
          sed -n 's/^ *pub fn \([a-zA-Z0-9_]*\)(.*/\1/p' "$(dirname "$source")/../ffi.rs" | while read -r name; do
            echo "void $name(void) { puts(\"$name is not part of the rehearsal\"); fflush(stdout); abort(); }"
          done ;;
      esac
    } | "${CC:-cc}" -fPIC -x c -c -o "$out" - ;;
  --lib)
    rm -f "$out"
    # shellcheck disable=SC2086
    ar crs "$out" $objects ;;
  *)
    echo "the stand-in for nvcc does not know what is asked of it" >&2
    exit 1 ;;
esac
