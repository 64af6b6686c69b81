#!/bin/bash
# What the commands do at their edges, on tiny models: commands.sh PROGRAM SCRATCH_FOLDER.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$(realpath "$0")")/support.sh"
small=(--width 16 --steps 2 --length 32 --batch 2 --threads 1)

# ---- Inputs
for ((i = 0; i < 200; ++i)); do
  echo "$i And the waters of brook $((i * 7919 % 1000)) ran down to the sea number $((i * 31 % 97))."
done >text.txt
awk 'BEGIN { for (t = 0; t < 120; ++t) printf "%.6f,%.6f,%.6f\n", 0.1 * sin(t / 5), cos(t / 7), sin(t / 5) * cos(t / 7) }' >rows.csv
head -n 40 rows.csv >feed.csv
expect 0 "a language model" "$rill" train --data text:text.txt --out one --blocks 1 "${small[@]}"
expect 0 "one of two blocks" "$rill" train --data text:text.txt --out two --blocks 2 "${small[@]}"
expect 0 "a model of a series" "$rill" train --data csv:rows.csv --out series --blocks 1 "${small[@]}"

# ---- A full disk behind the help
expect 1 "--help to a full disk" bash -c "'$rill' --help >/dev/full"
expect 1 "--version to a full disk" bash -c "'$rill' --version >/dev/full"

# ---- Numbers out of range: a sentence, no digits by the hundred
for given in "--tokens=-1" "--temperature=-1" "--temperature=nan" "--temperature=inf" "--top-p=0" "--top-p=1.5" \
  "--top-p=nan" "--top-k=-3" "--tokens=many"; do
  expect 2 "generate $given" "$rill" generate one --prompt a "$given"
  says "generate $given: says what was expected" "a number .*was expected, '${given#*=}' came\."
done
expect 2 "bench --seconds 0" "$rill" bench --seconds 0
says "bench --seconds 0: says what was expected" "a number above 0 was expected, '0' came\."

# ---- States of others
expect 0 "save a state of two blocks" "$rill" generate two --prompt "And the" --tokens 3 --save-state two.state
expect 1 "a state of two blocks in a model of one" "$rill" generate one --load-state two.state --tokens 3
says "a state of two blocks: says which field" "'[^']*1[^']*' besides came"
[ ! -s out ] || broken "a state of two blocks" "nothing on stdout" "$(head -c 100 out)"
sed 's/"state.batch":"1"/"state.batch":"7"/' two.state >batch.state
cmp -s two.state batch.state && broken "a state with another batch" "a changed file" "the same"
expect 1 "a state whose batch is not its tensors'" "$rill" generate two --load-state batch.state --tokens 3
{ head -c -4 two.state; printf '\x00\x00\xc0\x7f'; } >nan.state
expect 1 "a state with NaN" "$rill" generate two --load-state nan.state --tokens 3
says "a state with NaN: says so" "holds a NaN"

# ---- Progress
expect 0 "eval" "$rill" eval one --mode step
says "eval: progress" "bytes of [0-9.k ]+, .*bytes/s"
expect 0 "eval of a series" "$rill" eval series
says "eval of a series: progress" "rows of [0-9]+, .*rows/s"
expect 0 "logits" "$rill" logits one --bytes text.txt --out l.npy
says "logits: progress" "bytes of [0-9.k ]+, .*bytes/s"

# ---- stream
after_output=1 expect 1 "a row that scaling takes out of range" bash -c "(head -n 2 feed.csv; echo 3e38,-3e38,3e38; echo 1,2,3) | '$rill' stream series"
says "a row out of range: its line is named" "line 3: "
[ "$(wc -l <out)" = 2 ] || broken "a row out of range" "2 rows before" "$(wc -l <out)"
grep -q nan out && broken "a row out of range" "no nan" "$(cat out)"
after_output=1 expect 1 "a token out of range" bash -c "printf '65\n256\n' | '$rill' stream one"
says "a token out of range: its line is named" "line 2: "
expect 0 "stream" bash -c "'$rill' stream series <feed.csv"
mv out whole
expect 0 "stream after a byte order mark" bash -c "(printf '\xef\xbb\xbf'; cat feed.csv) | '$rill' stream series"
same "a byte order mark changes nothing" whole out
after_output=1 expect 1 "a byte order mark in the second line" bash -c "(head -n 1 feed.csv; printf '\xef\xbb\xbf'; cat feed.csv) | '$rill' stream series"

# A signal is an end of the input: the rows before it have their outputs, the state and the latencies are kept.
for signal in INT TERM; do
  rm -f half.state
  mkfifo feed.$signal
  : >half
  "$rill" stream series --latency --save-state half.state <feed.$signal >half 2>err &
  pid=$!
  exec 9>feed.$signal
  head -n 15 feed.csv >&9
  printf '0.5,0.' >&9  # a row that has not come whole
  for ((i = 0; i < 400 && $(wc -l <half) < 15; ++i)); do sleep 0.05; done
  kill -$signal $pid
  for ((i = 0; i < 400; ++i)); do kill -0 $pid 2>/dev/null || break; sleep 0.05; done
  kill -0 $pid 2>/dev/null && { kill -9 $pid; broken "stream, SIG$signal" "an end" "it went on"; }
  came=0
  wait $pid || came=$?
  exec 9>&-
  [ "$came" = 0 ] || broken "stream, SIG$signal" "status 0" "status $came: $(tail -n 3 err)"
  says "stream, SIG$signal: latencies" "15 steps; .*p99.9"
  [ -s half.state ] || broken "stream, SIG$signal" "half.state" "none"
  expect 0 "stream, SIG$signal: its state goes on" bash -c "tail -n +16 feed.csv | '$rill' stream series --load-state half.state"
  cat half out >both
  same "stream, SIG$signal: as if never stopped" whole both
done

# ---- layers
expect 0 "layers --json" "$rill" layers --json
awk '/"max":/ { max = $2 } /"min":/ { min = $2 } /"type": "int"/ { if (max ~ /[.e]/ || min ~ /[.e]/) bad = 1; seen = 1 }
  END { exit bad || !seen }' out || broken "layers --json" "integers as bounds of an int" "$(grep -B 6 '"type": "int"' out | head -n 8)"
ok "layers --json: bounds of an int are integers"

# ---- bench
expect 0 "bench, kernels and layers" "$rill" bench --layers gru --kernels all --lengths 8..32:x4 --width 16 --threads 1,2 --seconds 0.001 --json b.json --html b.html
for kernel in linear rms_norm layer_norm silu causal_conv affine_scan selective_scan diagonal_ssm linear_attention delta_rule \
  mlstm_scan lstm gru; do
  [ "$(grep -c "\"layer\": \"kernel:$kernel\"" b.json)" = 8 ] ||
    broken "bench: kernel $kernel" "8 rows" "$(grep -c "\"layer\": \"kernel:$kernel\"" b.json)"
done
[ "$(grep -c '"layer": "gru"' b.json)" = 9 ] || broken "bench: layer gru" "9 rows" "$(grep -c '"layer": "gru"' b.json)"
grep -E '"(baseline_ns|ratio|GBps|GFLOPs|ns_per_token|p50_ns|p99_ns|max_ns)": (null|0\.0|0),?$' b.json &&
  broken "bench" "figures in every row" "$(grep -n null b.json | head -n 3)"
ok "bench: every kernel has rows, each with its baseline"
# Layers and kernels by mode: gru with 1 and 2 threads in 2 charts, 13 kernels in 2.
[ "$(grep -o '<polyline' b.html | wc -l)" = 56 ] ||
  broken "bench --html" "a line for each layer and number of threads: 56" "$(grep -o '<polyline' b.html | wc -l)"
ok "bench --html: one line for each layer and number of threads"
expect 2 "bench: no such kernel" "$rill" bench --kernels linear,cubic
says "bench: no such kernel, says which there are" "'cubic'.*linear.*gru"
RILL_NUM_THREADS=none expect 2 "bench, RILL_NUM_THREADS=none" "$rill" bench --kernels silu --lengths 8 --width 16 --seconds 0.001
RILL_NUM_THREADS=2 expect 0 "bench, RILL_NUM_THREADS=2" "$rill" bench --kernels silu --modes forward --lengths 8 --width 16 --seconds 0.001 --json -
prints "bench, RILL_NUM_THREADS=2: two threads" '"threads": 2'
expect 1 "bench: lengths whose next would overflow" bash -c "ulimit -v 8000000; timeout 60 '$rill' bench --kernels silu --modes forward --width 1 --lengths 1..1099511627776:x1099511627776 --seconds 0.001"
says "bench: lengths whose next would overflow, the first is measured" "kernel:silu .* T 1 "
says "bench: too long a length, says so" "Memory: "
expect 0 "bench: growth of a model" "$rill" bench --model one --lengths 8..32:x4 --json -
grep -E '"(GBps|GFLOPs|p50_ns|p99_ns|max_ns|ns_per_token)": (null|0\.0|0),?$' out && broken "bench: growth" "figures in every row" "$(cat out)"
ok "bench: growth has all figures"

# ---- Paths that are not UTF-8
bad=$(printf 'no\xff')
cp text.txt "$bad.txt"
expect 0 "train --json into a folder that is not UTF-8" "$rill" train --data text:text.txt --out "$bad" --blocks 1 "${small[@]}" --json
prints "the folder stands in the JSON" '"out": "no'
expect 2 "data that config.json cannot name" "$rill" train --data "text:$bad.txt" --out unnamed --blocks 1 "${small[@]}"
says "data that config.json cannot name: says so" "UTF-8"
grep -q json.exception err && broken "data that config.json cannot name" "a sentence" "$(cat err)"
[ ! -e unnamed ] || broken "data that config.json cannot name" "nothing written" "$(ls unnamed)"
echo "All commands hold."
