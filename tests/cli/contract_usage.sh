#!/bin/bash
# The contract of the program, line by line, on tiny runs: exit statuses and usage.
# shellcheck source-path=SCRIPTDIR
here=$(dirname "$(realpath "$0")")
. "$here/support.sh"
. "$here/contract_inputs.sh"

expect 0 "--help" "$rill" --help
expect 0 "--version" "$rill" --version
for command in train eval generate stream logits layers info bench; do
  expect 0 "$command --help" "$rill" "$command" --help
  grep -q "Examples" out || broken "$command --help" "examples" "none"
done
expect 2 "no command" "$rill"
expect 2 "unknown command" "$rill" sing
expect 2 "unknown flag" "$rill" info x --loud
expect 2 "train without --out" "$rill" train --data text:text.txt
expect 2 "train: a number that is none" "$rill" train --data text:text.txt --out no --steps many
expect 2 "unknown kind of data" "$rill" train --data tape:text.txt --out no
expect 2 "unknown layer" "$rill" train --data text:text.txt --out no --layer lstn
expect 2 "unknown option of a layer" "$rill" train --data text:text.txt --out no --set colour=3
expect 2 "option out of range" "$rill" train --data text:text.txt --out no --set state_size=-1
expect 2 "option of a wrong type" "$rill" train --data text:text.txt --out no --set state_size=big
expect 2 "--set without a value" "$rill" train --data text:text.txt --out no --set state_size
expect 2 "--length 0" "$rill" train --data text:text.txt --out no --length 0
expect 2 "--length beyond the data" "$rill" train --data text:text.txt --out no --length 100000000
expect 2 "a task that does not go with the data" "$rill" train --data text:text.txt --out no --task regress
expect 1 "data that are not there" "$rill" train --data text:none.txt --out no
expect 1 "a model that is not there" "$rill" info none
expect 2 "a mode that is none" "$rill" eval none --mode chunk:0
for flags in "--lr nan" "--lr inf" "--weight-decay nan" "--warmup nan" "--minutes nan" "--clip nan" "--dropout nan" \
  "--dropout 1" "--seed -1" "--target a"; do
  # shellcheck disable=SC2086
  expect 2 "train $flags" "$rill" train --data text:text.txt --out no $flags
done
expect 2 "train --out ''" "$rill" train --data text:text.txt --out ""
missing "train --out '': nothing here" config.json
{ echo "a,b"; for ((i = 0; i < 20; ++i)); do echo "1e308,$i"; echo "-1e308,$i"; done; } >huge.csv
expect 1 "columns too large to be scaled" "$rill" train --data csv:huge.csv --out no
says "columns too large: which" "huge.csv.*'a'"
missing "nothing was written by all these" no
expect 2 "--threads 0" "$rill" info none --threads 0
expect 2 "--device: a name that is none" "$rill" eval none --device gpu
expect 2 "--device: a card that no machine has" "$rill" eval none --device cuda:999
expect 2 "train on a card that no machine has" "$rill" train --data text:text.txt --out no --device cuda:999
expect 2 "bench on a card that no machine has" "$rill" bench --device cuda:999
RILL_CPU_TARGET=bogus expect 2 "RILL_CPU_TARGET=bogus" "$rill" layers
for target in avx512:avx512f avx2:avx2; do  # real names, on processors that have them not
  grep -qw "${target#*:}" /proc/cpuinfo && continue
  RILL_CPU_TARGET=${target%:*} expect 2 "RILL_CPU_TARGET=${target%:*}, not available here" "$rill" layers
  says "the target is named" "${target%:*}"
done
expect 2 "bench --model with --layers" "$rill" bench --model none --layers mamba
RILL_NUM_THREADS=none expect 2 "RILL_NUM_THREADS=none" "$rill" train --data text:text.txt --out no "${small[@]:0:10}"
missing "nothing was written by these either" no
echo "The contract holds."
