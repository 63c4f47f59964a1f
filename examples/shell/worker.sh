#!/bin/sh
# A worker in POSIX shell: three lines make it a citizen of the farm (marked 1, 2, 3). It reads a table into variables first.
#
#   payload  {"key": 41}
#   answer   {"key":41,"value":…}; value = key * key + 7 of the key wrapped to the table of 2000
set -eu

n=0
while [ "$n" -lt 2000 ]; do
    eval "row_$n=$((n * n + 7))"
    n=$((n + 1))
done

echo ready >&"$SNAPSHOTS_CHANNEL"                               # 1: warm
read -r request <&"$SNAPSHOTS_CHANNEL"                          # 2: in a clone this returns

key=${request#*'"key"'}
key=${key#*:}
key=${key%%\}*}
key=$((key))
eval "value=\$row_$(((key % 2000 + 2000) % 2000))"

echo "{\"key\":$key,\"value\":$value}" >&"$SNAPSHOTS_CHANNEL"   # 3: the answer
