#!/bin/bash
# The contract of the program, line by line, on tiny runs: series and images.
# shellcheck source-path=SCRIPTDIR
here=$(dirname "$(realpath "$0")")
. "$here/support.sh"
. "$here/contract_inputs.sh"

given run text:text.txt
given series csv:rows.csv
"$rill" logits run --bytes rows.csv --out p.npy >out 2>err || broken "an npy file" "status 0" "$(cat err)"

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
echo "The contract holds."
