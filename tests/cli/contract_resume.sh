#!/bin/bash
# The contract of the program, line by line, on tiny runs: rill train --resume and --config.
# shellcheck source-path=SCRIPTDIR
here=$(dirname "$(realpath "$0")")
. "$here/support.sh"
. "$here/contract_inputs.sh"

given run text:text.txt
given two text:text.txt

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
text=(--data text:text.txt --length 32 --accumulate 2 --dropout 0.2)
resumes retnet "${text[@]}" --layer retnet
resumes mlstm "${text[@]}" --layer mlstm
resumes chunks "${text[@]}" --layer deltanet --time-chunk 8
resumes series --data csv:rows.csv --length 20 --accumulate 3 --dropout 0.2 --layer gru
echo "The contract holds."
