# shellcheck shell=sh disable=SC2086
# Asks a daemon that may still be as it was before a change to TLS, or from it: two ways, in pairctl's words, then what to
# ask. The first way is taken unless only the second one gets an answer.
set -f
first=$1 second=$2
shift 2
for way in "$first" "$second"; do
    pairctl $way stats replication >/dev/null 2>&1 && exec pairctl $way "$@"
done
exec pairctl $first "$@"
