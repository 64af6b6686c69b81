#!/bin/bash
# The contract of the program, line by line, on tiny runs: rill generate.
# shellcheck source-path=SCRIPTDIR
here=$(dirname "$(realpath "$0")")
. "$here/support.sh"
. "$here/contract_inputs.sh"

given run text:text.txt

for sampling in "--temperature 0" "--temperature 0.9 --top-k 50 --top-p 0.95 --seed 5"; do
  expect 0 "generate $sampling" "$rill" generate run --prompt "And the" --tokens 100 $sampling
  mv out whole
  [ "$(stat -c %s whole)" = 100 ] || broken "generate" "100 bytes" "$(stat -c %s whole)"
  expect 0 "again" "$rill" generate run --prompt "And the" --tokens 100 $sampling
  same "generate repeats itself" whole out
  expect 0 "first half" "$rill" generate run --prompt "And the" --tokens 50 $sampling --save-state half
  mv out halves
  expect 0 "second half" "$rill" generate run --tokens 50 $sampling --load-state half
  says "speed and state on stderr" "tokens/s; state"
  cat out >>halves
  same "100 tokens equal 50 saved and 50 loaded" whole halves
done
expect 2 "generate without prompt or state" "$rill" generate run --tokens 5
expect 2 "generate: temperature -1" "$rill" generate run --prompt a --temperature -1
expect 1 "generate: a state that is none" "$rill" generate run --load-state text.txt
expect 0 "another layer" "$rill" train --data text:text.txt --out lstm "${small[@]}" --layer lstm
expect 1 "generate: a state of another layer" "$rill" generate lstm --load-state half --tokens 5
expect 1 "generate to a full disk" bash -c "'$rill' generate run --prompt a --tokens 3 >/dev/full"
after_output=1 expect 1 "--save-state on a full disk" bash -c "ulimit -f 1; '$rill' generate run --prompt a --tokens 3 --save-state full.state"
missing "no half-written state" full.state
echo "The contract holds."
