#!/bin/bash
# The contract of the program, line by line, on tiny runs: rill stream.
# shellcheck source-path=SCRIPTDIR
here=$(dirname "$(realpath "$0")")
. "$here/support.sh"
. "$here/contract_inputs.sh"

given run text:text.txt

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
echo "The contract holds."
