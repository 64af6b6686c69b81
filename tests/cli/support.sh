# shellcheck shell=bash
# Sourced by the tests of the program, NAME.sh PROGRAM SCRATCH_FOLDER: checks that print one line
# each; the first that does not hold ends the test, with what was expected and what came.
set -u
rill=$(realpath "$1")
scratch=$2
rm -rf "$scratch" && mkdir -p "$scratch" && cd "$scratch" || exit 1
export LC_ALL=C
unset RILL_CPU_TARGET RILL_NUM_THREADS


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
says() {  # WHAT PATTERN: on stderr of the command before
  grep -Eq -- "$2" err || broken "$1" "stderr with /$2/" "$(tail -n 3 err | cut -c 1-300)"
  ok "$1"
}
prints() {  # WHAT PATTERN: on stdout of the command before
  grep -Eq -- "$2" out || broken "$1" "stdout with /$2/" "$(head -n 5 out | cut -c 1-300)"
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
