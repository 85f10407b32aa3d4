#!/bin/sh
# A program that keeps its state with its session: it counts lines, and goes on counting when it is started again. Run it
# within a session, such as a service of a template.
set -eu
count=$(sessiond state get application count) || count=0
echo "count $count"
while read -r _; do
    count=$((count + 1))
    # Answered when it is as safe as the session's class promises: only then it is shown.
    sessiond state put application count "$count"
    echo "count $count"
done
