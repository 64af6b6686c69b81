# shellcheck shell=bash
# Sourced by the tests of the contract: the size of a run, what runs are made of, and runs.
small=(--width 16 --blocks 1 --steps 6 --length 32 --batch 2 --threads 1)
for ((i = 0; i < 400; ++i)); do
  echo "$i And the waters of brook $((i * 7919 % 1000)) ran down to the sea number $((i * 31 % 97))."
done >text.txt
{ echo "a,b,c"; awk 'BEGIN { for (t = 0; t < 200; ++t) printf "%.6f,%.6f,%.6f\n", sin(t / 5), cos(t / 7), sin(t / 5) * cos(t / 7) }'; } >rows.csv
tail -n +2 rows.csv | head -n 40 >feed.csv

given() {  # NAME DATA: a run that other things are tried on
  "$rill" train --data "$2" --out "$1" "${small[@]}" >out 2>err </dev/null ||
    broken "a run on $2" "status 0" "$(tail -n 3 err)"
}
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
