#!/bin/bash
# The contract of the program, line by line, on tiny runs: rill layers, rill info, rill bench, and models that are damaged.
# shellcheck source-path=SCRIPTDIR
here=$(dirname "$(realpath "$0")")
. "$here/support.sh"
. "$here/contract_inputs.sh"

given run text:text.txt

expect 0 "layers --json" "$rill" layers --json
one_json "layers --json: one value" out
for layer in s4d mamba lstm gru mingru retnet gla mlstm deltanet; do
  grep -q "\"name\": \"$layer\"" out || broken "layers" "$layer" "none"
done
for key in family flags options params state_bytes default min max choices type; do
  grep -q "\"$key\":" out || broken "layers --json" "a field $key" "none"
done
ok "layers: all nine, all fields"
expect 0 "info" "$rill" info run
expect 0 "info --json" "$rill" info run --json
one_json "info --json: one value" out
expect 0 "bench" "$rill" bench --layers gru,mamba --lengths 16..64:x4 --width 16 --seconds 0.01 --json b.json --html b.html
one_json "bench --json F: one value" b.json
for key in machine cpu targets read_GBps gemm_GFLOPs exp_Gps rows layer mode B T D dtype threads target ns_per_token GBps GFLOPs baseline_ns ratio p50_ns p99_ns max_ns rss_bytes; do
  grep -q "\"$key\":" b.json || broken "bench --json" "a field $key" "none"
done
ok "bench --json: all fields"
grep -q "<svg" b.html || broken "bench --html" "charts" "none"
expect 2 "bench: lengths that are none" "$rill" bench --lengths 9..3
expect 1 "info to a full disk" bash -c "'$rill' info run >/dev/full"

# ---- Damaged models
damage() { rm -rf bad && mkdir bad && cp run/config.json run/model.safetensors bad; }
config() {  # STATUS WHAT SED_EXPRESSION
  damage
  sed -E "$3" run/config.json >bad/config.json
  cmp -s run/config.json bad/config.json && broken "config: $2" "a changed file" "the same"
  expect "$1" "config: $2" "$rill" info bad
}
config 2 "hidden_size missing" '/"hidden_size"/d'
config 2 "hidden_size is text" 's/("hidden_size": )[0-9]+/\1"wide"/'
config 2 "hidden_size is a fraction" 's/("hidden_size": )[0-9]+/\116.5/'
config 2 "hidden_size negative" 's/("hidden_size": )[0-9]+/\1-16/'
config 2 "hidden_size absurd" 's/("hidden_size": )[0-9]+/\199999999999999999999/'
config 1 "hidden_size too large for the file" 's/("hidden_size": )[0-9]+/\165536/; /"intermediate_size"/d'
config 1 "more blocks than the file has" 's/("num_hidden_layers": )[0-9]+/\11024/'
config 1 "another vocabulary than the file has" 's/("vocab_size": )[0-9]+/\14000000/'
config 2 "state_size absurd" 's/("state_size": )[0-9]+/\1123456789012/'
config 2 "norm of an unknown kind" 's/"norm": "rms"/"norm": "batch"/'
config 2 "a layer that does not exist" 's/"layer": "mamba"/"layer": "viper"/'
config 2 "rill is no object" '/^  "rill": \{/,/^  \}/c\  "rill": 3'
config 2 "no JSON" '1s/.*/{{/'
config 0 "keys of others are kept and ignored" '1s/.*/{ "bos_token_id": 7, "favourite": [1, {}],/'
damage
rm bad/config.json
expect 1 "config.json missing" "$rill" info bad
damage
head -c 5000 run/model.safetensors >bad/model.safetensors
expect 1 "truncated safetensors" "$rill" eval bad --data text:text.txt
damage
echo >>bad/model.safetensors
expect 1 "safetensors with bytes behind the last tensor" "$rill" info bad
damage
printf '\xff\xff\xff\xff\xff\xff\xff\x7f' | dd of=bad/model.safetensors conv=notrunc status=none
expect 1 "safetensors with an absurd header" "$rill" info bad
damage
printf '\x00\x00\xc0\x7f' | dd of=bad/model.safetensors conv=notrunc status=none bs=1 seek=$(($(stat -c %s bad/model.safetensors) - 4))
expect 1 "NaN in parameters" "$rill" generate bad --prompt a
says "NaN in parameters: says where" "parameter"
[ ! -s out ] || broken "NaN in parameters" "nothing on stdout" "$(head -c 100 out)"
echo "The contract holds."
