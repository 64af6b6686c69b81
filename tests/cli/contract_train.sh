#!/bin/bash
# The contract of the program, line by line, on tiny runs: rill train.
# shellcheck source-path=SCRIPTDIR
here=$(dirname "$(realpath "$0")")
. "$here/support.sh"
. "$here/contract_inputs.sh"

expect 0 "train --json" "$rill" train --data text:text.txt --out run "${small[@]}" --json
one_json "train --json: one value on stdout" out
for name in config.json model.safetensors log.jsonl checkpoints/step-6.safetensors; do
  [ -s "run/$name" ] || broken "files of a run" "run/$name" "$(ls run run/checkpoints)"
done
ok "files of a run"
while read -r line; do
  echo "$line" >line.json
  one_json "line of log.jsonl" line.json >/dev/null || { one_json "line of log.jsonl" line.json; exit 1; }
  for key in step split loss lr grad_norm tokens_per_s seconds peak_rss_bytes; do
    grep -q "\"$key\":" line.json || broken "log.jsonl" "a field $key" "$line"
  done
done <run/log.jsonl
[ "$(grep -c '"split":"train"' run/log.jsonl)" = 6 ] || broken "log.jsonl" "6 training lines" "$(cat run/log.jsonl)"
ok "log.jsonl: an object a step, all fields"
find run -type f -exec cksum {} + | sort >before
expect 2 "OUT exists" "$rill" train --data text:text.txt --out run "${small[@]}"
find run -type f -exec cksum {} + | sort >after
same "OUT exists: nothing touched" before after
expect 0 "train, plain lines" "$rill" train --data text:text.txt --out two "${small[@]:0:10}" --threads 2
[ ! -s out ] || broken "train without --json" "nothing on stdout" "$(head -c 200 out)"
same "1 and 2 threads: the same weights" run/model.safetensors two/model.safetensors
# That run is too small for anything to be shared out. In these every product, scan and loss is.
for layer in mamba lstm mlstm; do
  wide=(--data text:text.txt --layer $layer --width 128 --blocks 1 --steps 2 --length 256 --batch 16)
  expect 0 "$layer, wide, 1 thread" "$rill" train --out wide1-$layer "${wide[@]}" --threads 1
  expect 0 "$layer, wide, 2 threads" "$rill" train --out wide2-$layer "${wide[@]}" --threads 2
  same "$layer, wide: 1 and 2 threads give the same weights" wide1-$layer/model.safetensors wide2-$layer/model.safetensors
done
expect 0 "train --time-chunk" "$rill" train --data text:text.txt --out chunked "${small[@]}" --time-chunk 8 --json
loss=$(grep '"split":"heldout"' run/log.jsonl | tail -n 1 | sed -E 's/.*"loss":([^,]*),.*/\1/')
# Gradients are sums in another order: float's rounding over six steps.
near "time chunks give the same loss" "$loss" "$(field heldout_loss out)" 1e-4

# ---- A full disk
expect 1 "training into a full disk" bash -c "ulimit -f 8; '$rill' train --data text:text.txt --out full ${small[*]}"
says "a full disk: says so" "cannot be written"
missing "a full disk from the start leaves nothing" full
expect 0 "and the same command goes through once there is room" "$rill" train --data text:text.txt --out full "${small[@]}"
same "with the same weights" run/model.safetensors full/model.safetensors

# ---- Every layer at its defaults
for layer in s4d mamba lstm gru mingru retnet gla mlstm deltanet; do
  for width in 16 48 80; do
    expect 0 "$layer at width $width" "$rill" train --data text:text.txt --out "$layer-$width" --layer $layer --width $width --blocks 1 --steps 2 --length 24 --batch 2 --threads 1
  done
  expect 0 "$layer, step by step" "$rill" generate $layer-48 --prompt "And" --tokens 3
done
echo "The contract holds."
