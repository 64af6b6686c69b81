#!/bin/bash
# The contract of the program, line by line, on tiny runs: rill eval and rill logits.
# shellcheck source-path=SCRIPTDIR
here=$(dirname "$(realpath "$0")")
. "$here/support.sh"
. "$here/contract_inputs.sh"

given run text:text.txt

# ---- eval
for mode in parallel step chunk:7; do
  expect 0 "eval --mode $mode" "$rill" eval run --mode $mode --json
  one_json "eval --json: one value" out
  for key in loss unit tokens accuracy mode split; do
    grep -q "\"$key\":" out || broken "eval --json" "a field $key" "$(cat out)"
  done
  [ $mode != parallel ] || loss=$(field loss out)
  near "eval: $mode agrees with parallel" "$loss" "$(field loss out)" 1e-5  # the contract's figure
done
size=$(stat -c %s text.txt)
[ "$(field tokens out)" = $((size / 20 - 1)) ] || broken "eval: predictions" "$((size / 20 - 1))" "$(field tokens out)"
ok "eval: every held-out byte after the first once"
mkdir -p elsewhere
expect 0 "eval from another folder" bash -c "cd elsewhere && '$rill' eval ../run"
mv run elsewhere/moved
expect 0 "eval of a model that was moved" "$rill" eval elsewhere/moved
mv elsewhere/moved run
expect 0 "eval --data" "$rill" eval run --data text:text.txt
head -c 20 text.txt >few.txt
expect 1 "eval of data that are too few" "$rill" eval run --data text:few.txt
says "eval of data that are too few: says so" "at least 64 bytes were expected, 20 came"
expect 1 "eval --json to a full disk" bash -c "'$rill' eval run --json >/dev/full"

# ---- logits
expect 0 "logits" "$rill" logits run --bytes rows.csv --mode parallel --out p.npy
expect 0 "logits --mode step" "$rill" logits run --bytes rows.csv --mode step --out s.npy
expect 0 "logits --mode chunk:5" "$rill" logits run --bytes rows.csv --mode chunk:5 --out c.npy
head -c 128 p.npy | grep -aq "'descr': '<f4'.*'shape': ($(stat -c %s rows.csv), 256)" ||
  broken "logits" "float32 [$(stat -c %s rows.csv), 256]" "$(head -c 128 p.npy | tr -d '\0')"
same "logits: parallel and step bit for bit" p.npy s.npy
same "logits: parallel and chunks bit for bit" p.npy c.npy
expect 1 "logits to a full disk" "$rill" logits run --bytes rows.csv --out /dev/full
echo "The contract holds."
