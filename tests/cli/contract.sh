#!/bin/bash
# The contract of the program, line by line, on tiny runs: contract.sh PROGRAM SCRATCH_FOLDER.
# One line a check; the first that does not hold ends it, with what was expected and what came.
set -u
rill=$(realpath "$1")
scratch=$2
rm -rf "$scratch" && mkdir -p "$scratch" && cd "$scratch" || exit 1
export LC_ALL=C
unset RILL_CPU_TARGET RILL_NUM_THREADS
small=(--width 16 --blocks 1 --steps 6 --length 32 --batch 2 --threads 1)

ok() { printf 'ok  %s\n' "$1"; }
broken() {  # what, expected, came
  printf 'BROKEN  %s\n  expected: %s\n  came:     %s\n' "$1" "$2" "$3"
  exit 1
}
# expect STATUS WHAT COMMAND...: the exit status, with stdout in ./out and stderr in ./err; a
# failure says one clear sentence, beginning with "rill: " or CLI's own words, and puts nothing on
# stdout, unless `after_output=1` says that good input came before the bad.
expect() {
  local status=$1 what=$2 came=0
  shift 2
  "$@" >out 2>err </dev/null || came=$?
  [ "$came" = "$status" ] || broken "$what" "status $status" "status $came: $(tail -n 3 err)"
  if [ "$status" != 0 ]; then
    [ -s err ] || broken "$what" "a sentence on stderr" "nothing"
    [ ! -s out ] || [ -n "${after_output:-}" ] || broken "$what" "nothing on stdout" "$(head -c 200 out)"
  fi
  ok "$what"
}
says() {  # WHAT PATTERN: of the command before
  grep -Eq -- "$2" err || broken "$1" "stderr with /$2/" "$(tail -n 3 err)"
  ok "$1"
}
same() {  # WHAT A B
  cmp -s "$2" "$3" || broken "$1" "$2 and $3 equal" "$(cmp "$2" "$3" 2>&1)"
  ok "$1"
}
missing() {  # WHAT PATH
  [ ! -e "$2" ] || broken "$1" "no $2" "$(ls -lad "$2")"
  ok "$1"
}
field() { sed -nE "s/.*\"$1\": *(-?[0-9.e+-]+|\"[^\"]*\"|null|true|false).*/\1/p" "$2" | head -n 1; }
near() {  # WHAT A B TOLERANCE
  awk -v a="$2" -v b="$3" -v t="$4" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(a != "" && b != "" && d <= t) }' ||
    broken "$1" "$2 within $4" "$3"
  ok "$1"
}
# Braces, brackets and strings balance, and what comes is one value from the first byte to the last.
one_json() {  # WHAT FILE
  tr -d '\n' <"$2" | awk '{
    n = length($0); depth = 0; text = 0; ended = 0
    for (i = 1; i <= n; ++i) {
      c = substr($0, i, 1)
      if (text) { if (c == "\\") ++i; else if (c == "\"") text = 0; continue }
      if (ended && c != " ") exit 1
      if (c == "\"") text = 1
      else if (c == "{" || c == "[") ++depth
      else if (c == "}" || c == "]") { if (--depth == 0) ended = 1 }
      else if (depth == 0) exit 1
    }
    done = ended && !text
  } END { exit !done }' || broken "$1" "one JSON value" "$(head -c 300 "$2")"
  ok "$1"
}

# ---- Inputs
for ((i = 0; i < 400; ++i)); do
  echo "$i And the waters of brook $((i * 7919 % 1000)) ran down to the sea number $((i * 31 % 97))."
done >text.txt
{ echo "a,b,c"; awk 'BEGIN { for (t = 0; t < 200; ++t) printf "%.6f,%.6f,%.6f\n", sin(t / 5), cos(t / 7), sin(t / 5) * cos(t / 7) }'; } >rows.csv
tail -n +2 rows.csv | head -n 40 >feed.csv

# ---- Exit statuses and usage
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
RILL_CPU_TARGET=bogus expect 2 "RILL_CPU_TARGET=bogus" "$rill" layers
for target in avx512:avx512f avx2:avx2; do  # real names, on processors that have them not
  grep -qw "${target#*:}" /proc/cpuinfo && continue
  RILL_CPU_TARGET=${target%:*} expect 2 "RILL_CPU_TARGET=${target%:*}, not available here" "$rill" layers
  says "the target is named" "${target%:*}"
done
expect 2 "bench --model with --layers" "$rill" bench --model none --layers mamba
RILL_NUM_THREADS=none expect 2 "RILL_NUM_THREADS=none" "$rill" train --data text:text.txt --out no "${small[@]:0:10}"
missing "nothing was written by these either" no

# ---- Training
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

# ---- Killed, stopped, resumed
long=(--data text:text.txt --width 16 --blocks 1 --steps 40 --length 256 --batch 8 --threads 1 --checkpoint-every 2)
expect 0 "never stopped" "$rill" train --out never "${long[@]}"
lstm=(--data text:text.txt --layer lstm --width 32 --blocks 1 --dropout 0.1 --steps 150 --length 256 --batch 8 --threads 1)
"$rill" train --out early "${lstm[@]}" >/dev/null 2>&1 &
child=$!
while [ ! -s early/log.jsonl ] && kill -0 $child 2>/dev/null; do :; done
kill -9 $child 2>/dev/null
wait $child 2>/dev/null
missing "killed before its first checkpoint: no weights" early/model.safetensors
printf '{"rill' >early/config.json
expect 0 "killed before its first checkpoint, resumed with --data and --out alone" \
  "$rill" train --data text:text.txt --out early --threads 1 --resume
expect 0 "the same, never stopped" "$rill" train --out late "${lstm[@]}"
same "it went on with its own layer, width and options" late/model.safetensors early/model.safetensors
same "and wrote its config.json anew" late/config.json early/config.json
"$rill" train --out killed "${long[@]}" >/dev/null 2>&1 &
child=$!
while [ ! -e killed/checkpoints/step-4.safetensors ] && kill -0 $child 2>/dev/null; do :; done
kill -9 $child 2>/dev/null
wait $child 2>/dev/null
expect 0 "killed, then resumed" "$rill" train --out killed "${long[@]}" --resume
same "killed and resumed: the same weights" never/model.safetensors killed/model.safetensors
grep '"split":"train"' killed/log.jsonl | sed -E 's/.*"step":([0-9]+).*/\1/' >steps
seq 1 40 >wanted
same "resumed: log.jsonl has every step once" wanted steps
echo '{"step": 99999, "split": "train", "loss"' >>killed/log.jsonl
head -c 2000 never/checkpoints/step-40.safetensors >killed/checkpoints/step-41.safetensors
expect 0 "damaged checkpoint and log line are passed over" "$rill" train --out killed "${long[@]}" --resume
says "the damaged one is named" "damaged checkpoint.*step-41"
same "and the weights are the same" never/model.safetensors killed/model.safetensors
cp -r never torn
for step in 38 40; do
  size=$(stat -c %s never/checkpoints/step-$step.safetensors)
  truncate -s $((size / 2)) torn/checkpoints/step-$step.safetensors
  truncate -s "$size" torn/checkpoints/step-$step.safetensors
done
expect 0 "checkpoints whose second half is zeros are passed over" "$rill" train --out torn "${long[@]}" --resume
says "they are named" "damaged checkpoint.*step-38"
same "the one before them gives the same weights" never/model.safetensors torn/model.safetensors
for name in torn/checkpoints/*; do echo >"$name"; done
expect 0 "no checkpoint is whole" "$rill" train --out torn "${long[@]}" --resume
says "no checkpoint is whole: it starts over, and says so" "starts over"
same "the weights that were there are kept" never/model.safetensors torn/model.safetensors.before
same "and come again" never/model.safetensors torn/model.safetensors
if grep -q 'step": 99999' killed/log.jsonl; then broken "half a log line" "gone" "kept"; fi
ok "half a log line is dropped"
for signal in INT TERM; do
  # A background job of a script ignores SIGINT from the start; the program takes it all the same.
  "$rill" train --out stopped$signal "${long[@]}" --json >stop.out 2>stop.err &
  child=$!
  while [ ! -s stopped$signal/log.jsonl ] && kill -0 $child 2>/dev/null; do :; done
  kill -$signal $child
  wait $child
  status=$?
  [ $status = 0 ] || broken "SIG$signal" "status 0" "$status: $(tail -n 2 stop.err)"
  grep -q -- "--resume" stop.err || broken "SIG$signal" "how to go on" "$(tail -n 2 stop.err)"
  [ "$(field stopped stop.out)" = true ] || broken "SIG$signal" "\"stopped\": true" "$(cat stop.out)"
  one_json "SIG$signal finishes the step, saves and says how to go on" stop.out
  expect 0 "resume after SIG$signal" "$rill" train --data text:text.txt --out stopped$signal --threads 1 --resume
  same "stopped by SIG$signal and resumed: the same weights" never/model.safetensors stopped$signal/model.safetensors
done
expect 0 "--resume where there is nothing starts fresh" "$rill" train --data text:text.txt --out fresh "${small[@]}" --resume
same "and gives the same weights" run/model.safetensors fresh/model.safetensors
expect 2 "--resume with another width" "$rill" train --data text:text.txt --out run --width 32 --resume
says "both widths are named" "16.*32"
find run -type f -exec cksum {} + | sort >before
tail -n +2 text.txt >other.txt
cp text.txt moved.txt
while read -r flags; do
  # shellcheck disable=SC2086
  expect 2 "--resume with other $flags" "$rill" train --data text:text.txt --out run --resume $flags
  says "a sentence with the run's name" "the run in run (has|is)"
done <<'END'
--layer gru
--blocks 2
--set state_size=8
--dropout 0.1
--length 16
--batch 4
--accumulate 2
--seed 5
--weight-decay 0.5
--warmup 0.5
--clip 3
END
sed -E 's/("state_size": )[0-9]+/\18/' run/config.json >other.json
expect 2 "--resume with another --config" "$rill" train --data text:text.txt --out run --resume --config other.json
says "both values are named" "state_size 16, 8 came"
expect 2 "--resume with another --task" "$rill" train --data text:text.txt --out run --resume --task next
expect 2 "--resume with other data" "$rill" train --data text:other.txt --out run --resume
says "other data: both are named" "$(stat -c %s text.txt) bytes.*$(stat -c %s other.txt) bytes"
find run -type f -exec cksum {} + | sort >after
same "all these touched nothing" before after
cp run/log.jsonl finished.jsonl
expect 0 "--resume with flags that agree, the same data elsewhere" "$rill" train --data text:moved.txt --out run --resume \
  "${small[@]}" --layer mamba --set state_size=16 --dropout 0 --seed 0 --warmup 0.05 --checkpoint-every 9 --json
expect 0 "--resume with the run's own --config" "$rill" train --data text:text.txt --out run --resume --config run/config.json
same "a finished run gains no line in its log" finished.jsonl run/log.jsonl
quoted="a b's"
cp text.txt "$quoted.txt"
"$rill" train --data "text:$quoted.txt" --out "$quoted" --width 16 --blocks 1 --steps 1000000 --threads 1 >/dev/null 2>err &
child=$!
while [ ! -s "$quoted/log.jsonl" ] && kill -0 $child 2>/dev/null; do :; done
kill -INT $child
wait $child
eval "set -- $(sed -n 's/.*To go on: rill //p' err)"
expect 0 "what it says to go on with is a command" "$rill" "$@" --steps 1 --threads 1
regress=(--data csv:rows.csv --task regress --target b,c --width 16 --blocks 1 --steps 1 --length 16 --threads 1)
expect 0 "regress" "$rill" train --out twice "${regress[@]}"
expect 0 "regress, --resume with the original command line" "$rill" train --out twice "${regress[@]}" --resume
expect 0 "--config: task and targets are the file's" "$rill" train --data csv:rows.csv --out by-config --config twice/config.json \
  --steps 1 --threads 1
same "--config: the same config.json" twice/config.json by-config/config.json
expect 2 "--config of another task than the data's" "$rill" train --data text:text.txt --out no --config twice/config.json
says "--config of another task: says so" "regress came"
sed 's/"vocab_size": 256/"vocab_size": 100/' run/config.json >narrow.json
expect 2 "--config with a vocabulary below that of bytes" "$rill" train --data text:text.txt --out no --config narrow.json
sed 's/"vocab_size": 256/"vocab_size": 300/' run/config.json >wide.json
expect 0 "--config with a larger vocabulary" "$rill" train --data text:text.txt --out vocabulary --config wide.json --steps 1 --threads 1
says "a larger vocabulary: says that it stays" "wide.json stays 300"
grep -q '"vocab_size": 300' vocabulary/config.json || broken "a larger vocabulary" "300" "$(cat vocabulary/config.json)"
echo '{"model_type": "mamba", "hidden_size": "wide"}' >b.json
expect 2 "a damaged --config" "$rill" train --data text:text.txt --out no --config b.json
says "a damaged --config is called by its name" "^rill: b.json: "
# Diverged: status 1, and what was saved stands.
cp -r two diverged
expect 1 "diverged in the last step" "$rill" train --data text:text.txt --out diverged --resume --steps 7 --lr 1e39 --json
says "diverged: what stands" "step 6 is untouched"
same "diverged: the weights stand" two/model.safetensors diverged/model.safetensors
missing "diverged: nothing of it is saved" diverged/checkpoints/step-7.safetensors
expect 1 "diverged with a checkpoint each step" "$rill" train --data text:text.txt --out far "${small[@]}" --lr 1e39 --checkpoint-every 1
missing "diverged: no weights" far/model.safetensors
missing "diverged: no checkpoint" far/checkpoints/step-1.safetensors
cp -r two longer
expect 0 "--resume with more --steps" "$rill" train --data text:text.txt --out longer --resume --steps 8
[ "$(grep -c '"split":"train"' longer/log.jsonl)" = 8 ] || broken "more --steps" "8 training lines" "$(cat longer/log.jsonl)"
rm -r longer
# What a checkpoint holds beside weights and moments: the draws of dropout, the place between the
# batches of a step, and carried states, RetNet's integer position and mLSTM's infinities among them.
resumes() {  # NAME OPTION...: a run that has lost its later half ends with the same weights
  local name=resume-$1
  shift
  local run=("$rill" train --out "$name" "$@" --width 16 --blocks 1 --steps 8 --batch 2 --threads 1 --checkpoint-every 2)
  expect 0 "$name: never stopped" "${run[@]}"
  mv "$name/model.safetensors" "$name.whole"
  rm "$name"/checkpoints/step-{6,8}.safetensors
  [ -s "$name/checkpoints/step-4.safetensors" ] || broken "$name" "step-4" "$(ls "$name/checkpoints")"
  expect 0 "$name: from the middle" "${run[@]}" --resume
  same "$name: the same weights" "$name.whole" "$name/model.safetensors"
}
text=(--data text:text.txt --length 32 --accumulate 2 --dropout 0.2)
resumes retnet "${text[@]}" --layer retnet
resumes mlstm "${text[@]}" --layer mlstm
resumes chunks "${text[@]}" --layer deltanet --time-chunk 8
resumes series --data csv:rows.csv --length 20 --accumulate 3 --dropout 0.2 --layer gru

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

# ---- generate
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

# ---- logits
expect 0 "logits" "$rill" logits run --bytes rows.csv --mode parallel --out p.npy
expect 0 "logits --mode step" "$rill" logits run --bytes rows.csv --mode step --out s.npy
expect 0 "logits --mode chunk:5" "$rill" logits run --bytes rows.csv --mode chunk:5 --out c.npy
head -c 128 p.npy | grep -aq "'descr': '<f4'.*'shape': ($(stat -c %s rows.csv), 256)" ||
  broken "logits" "float32 [$(stat -c %s rows.csv), 256]" "$(head -c 128 p.npy | tr -d '\0')"
same "logits: parallel and step bit for bit" p.npy s.npy
same "logits: parallel and chunks bit for bit" p.npy c.npy
expect 1 "logits to a full disk" "$rill" logits run --bytes rows.csv --out /dev/full

# ---- stream
stream_checks() {  # MODEL
  expect 0 "stream $1" bash -c "'$rill' stream $1 <feed.csv"
  mv out whole
  [ "$(wc -l <whole)" = 40 ] || broken "stream" "40 rows" "$(wc -l <whole)"
  expect 0 "stream, first rows" bash -c "head -n 15 feed.csv | '$rill' stream $1 --save-state s.state"
  mv out halves
  expect 0 "stream, other rows" bash -c "tail -n +16 feed.csv | '$rill' stream $1 --load-state s.state --latency"
  says "--latency" "p50 .*p99 .*p99.9 .*max"
  cat out >>halves
  same "stream: split, saved and loaded equals unsplit" whole halves
  expect 0 "stream with a reset" bash -c "(head -n 9 feed.csv; echo; cat feed.csv) | '$rill' stream $1"
  tail -n 40 out >again
  [ "$(wc -l <out)" = 49 ] || broken "an empty line prints nothing" "49 rows" "$(wc -l <out)"
  same "an empty line resets" whole again
  after_output=1 expect 1 "a bad row" bash -c "(head -n 3 feed.csv; echo 1,two,3; cat feed.csv) | '$rill' stream $1"
  says "a bad row: its line is named" "line 4"
  head -n 3 whole >first
  same "a bad row: the outputs before it" first out
  expect 1 "a row that is too short" bash -c "echo 1,2 | '$rill' stream $1"
  expect 1 "a row that is too long" bash -c "echo 1,2,3,4 | '$rill' stream $1"
  expect 1 "a row with NaN" bash -c "echo 1,nan,3 | '$rill' stream $1"
}
expect 0 "train on CSV" "$rill" train --data csv:rows.csv --out series "${small[@]}" --json
grep -q '"task": "next"' series/config.json || broken "task of CSV" next "$(cat series/config.json)"
grep -q '"input_mean"' series/config.json || broken "scaling" "in config.json" "none"
expect 0 "eval of a series" "$rill" eval series --mode step --json
one_json "eval of a series: one JSON value" out
stream_checks series
coproc "$rill" stream series 2>/dev/null
pid=$COPROC_PID
for n in 1 2 3; do
  sed -n ${n}p feed.csv >&"${COPROC[1]}"
  IFS= read -r -t 20 -u "${COPROC[0]}" row || broken "stream" "row $n out before row $((n + 1)) in" "nothing"
  [ "$row" = "$(sed -n ${n}p whole)" ] || broken "stream" "$(sed -n ${n}p whole)" "$row"
done
eval "exec ${COPROC[1]}>&-"
wait $pid
ok "stream: one row in, one row out, at once"
# 0.5, -1.25 and 2 as little-endian floats.
printf '\x00\x00\x00\x3f\x00\x00\xa0\xbf\x00\x00\x00\x40' >row.f32
expect 0 "stream --format f32" bash -c "cat row.f32 row.f32 | '$rill' stream series --format f32"
[ "$(stat -c %s out)" = 24 ] || broken "f32 rows" "24 bytes" "$(stat -c %s out)"
od -An -v -w12 -tf4 out | awk '{ printf "%.4f,%.4f,%.4f\n", $1, $2, $3 }' >f32.txt
expect 0 "the same rows as text" bash -c "printf '0.5,-1.25,2\n0.5,-1.25,2\n' | '$rill' stream series"
awk -F, '{ printf "%.4f,%.4f,%.4f\n", $1, $2, $3 }' out >csv.txt
same "f32 and csv rows agree" f32.txt csv.txt
after_output=1 expect 1 "half an f32 row" bash -c "(cat row.f32; head -c 5 row.f32) | '$rill' stream series --format f32"
[ "$(stat -c %s out)" = 12 ] || broken "half an f32 row" "12 bytes before" "$(stat -c %s out)"
expect 0 "stream of tokens" bash -c "printf '65\n66\n' | '$rill' stream run"
expect 1 "token out of range" bash -c "echo 256 | '$rill' stream run"
says "token out of range: says so" "256"
expect 1 "stream to a full disk" bash -c "'$rill' stream series <feed.csv >/dev/full"

# ---- Series and images
expect 0 "regress --target by name" "$rill" train --data csv:rows.csv --task regress --target c --out regress "${small[@]}"
expect 2 "--resume with other --target" "$rill" train --data csv:rows.csv --target b --out regress --resume
expect 2 "--resume with more --target" "$rill" train --data csv:rows.csv --target c,b --out regress --resume
expect 0 "--resume with the same --target by number" "$rill" train --data csv:rows.csv --target 2 --out regress --resume
head -n 150 rows.csv >fewer.csv
expect 2 "--resume with fewer rows" "$rill" train --data csv:fewer.csv --out series --resume
says "fewer rows: both are named" "200 rows.*149 rows"
expect 0 "eval of a regression" "$rill" eval regress --json
expect 0 "stream of a regression" bash -c "cut -d, -f1,2 feed.csv | '$rill' stream regress"
grep -q , out && broken "stream of a regression" "one column" "$(head -n 1 out)"
expect 2 "regress without --target" "$rill" train --data csv:rows.csv --task regress --out no "${small[@]}"
expect 2 "regress: no such column" "$rill" train --data csv:rows.csv --task regress --target d --out no "${small[@]}"
expect 0 "train on npy" "$rill" train --data npy:p.npy --out npy "${small[@]}"
big() { printf "\\x$(printf %02x $(($1 >> 24 & 255)))\\x$(printf %02x $(($1 >> 16 & 255)))\\x$(printf %02x $(($1 >> 8 & 255)))\\x$(printf %02x $(($1 & 255)))"; }
mkdir idx
for part in train t10k; do
  { printf '\0\0\x08\x03'; big 12; big 4; big 4; head -c 192 text.txt; } >idx/$part-images-idx3-ubyte
  { printf '\0\0\x08\x01'; big 12; printf '\0\1\2\0\1\2\0\1\2\0\1\2'; } >idx/$part-labels-idx1-ubyte
done
expect 0 "train on IDX" "$rill" train --data idx:idx --out images "${small[@]:0:6}" --batch 2 --threads 1
resumes images --data idx:idx --layer s4d --accumulate 2 --dropout 0.2
expect 0 "eval of a classifier" "$rill" eval images --json
parallel=$(field loss out)
expect 0 "eval of a classifier, step" "$rill" eval images --mode step --json
near "classifier: step agrees with parallel" "$parallel" "$(field loss out)" 1e-5  # the contract's figure
expect 2 "IDX with a length that images do not have" "$rill" train --data idx:idx --out no --length 5
{ printf '\0\0\x08\x01'; big 12; printf '\0\1\2\0\1\2\0\1\2\0\1\7'; } >idx/t10k-labels-idx1-ubyte
expect 1 "IDX with a label that only test images have" "$rill" train --data idx:idx --out no
says "and it is named" "test image 11 is 7"
{ printf '\0\0\x08\x03'; big 1200000; big 4; big 4; head -c 192 text.txt; } >idx/train-images-idx3-ubyte
expect 1 "IDX that lies about its size" "$rill" train --data idx:idx --out no
printf '1,2\n3,4\n5\n' >ragged.csv
expect 1 "ragged CSV" "$rill" train --data csv:ragged.csv --out no
echo "a,b" >header.csv
expect 1 "CSV with a header and no rows" "$rill" train --data csv:header.csv --out no
{ cat rows.csv; echo "x,y,z"; } >words.csv
expect 1 "CSV with text after the header" "$rill" train --data csv:words.csv --out no
: >empty
expect 1 "empty CSV" "$rill" train --data csv:empty --out no
expect 1 "empty text" "$rill" train --data text:empty --out no
expect 1 "npy that is none" "$rill" train --data npy:text.txt --out no
missing "nothing was written by all these" no

# ---- layers, info, bench
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

# ---- A full disk
expect 1 "info to a full disk" bash -c "'$rill' info run >/dev/full"
expect 1 "eval --json to a full disk" bash -c "'$rill' eval run --json >/dev/full"
expect 1 "generate to a full disk" bash -c "'$rill' generate run --prompt a --tokens 3 >/dev/full"
expect 1 "training into a full disk" bash -c "ulimit -f 8; '$rill' train --data text:text.txt --out full ${small[*]}"
says "a full disk: says so" "cannot be written"
missing "a full disk from the start leaves nothing" full
expect 0 "and the same command goes through once there is room" "$rill" train --data text:text.txt --out full "${small[@]}"
same "with the same weights" run/model.safetensors full/model.safetensors
after_output=1 expect 1 "--save-state on a full disk" bash -c "ulimit -f 1; '$rill' generate run --prompt a --tokens 3 --save-state full.state"
missing "no half-written state" full.state

# ---- Every layer at its defaults
for layer in s4d mamba lstm gru mingru retnet gla mlstm deltanet; do
  for width in 16 48 80; do
    expect 0 "$layer at width $width" "$rill" train --data text:text.txt --out "$layer-$width" --layer $layer --width $width --blocks 1 --steps 2 --length 24 --batch 2 --threads 1
  done
  expect 0 "$layer, step by step" "$rill" generate $layer-48 --prompt "And" --tokens 3
done
echo "The contract holds."
