#!/bin/sh
# A catalogue that is searched, five hits a page. With its session it keeps the query, the size of a page and the page,
# and not what was found: another host looks that up again. Run it within a session, such as a service of a template.
set -eu
size=5

products() {
    i=0
    while [ $((i += 1)) -le 40 ]; do
        printf 'Router R-%02d, %d ports\n' "$i" "$((4 + i % 3 * 4))"
    done
}

show() {
    hits=$(products | grep -i -- "$query" || :)
    count=$(printf '%s' "$hits" | grep -c '' || :)
    pages=$(((count + size - 1) / size))
    [ "$page" -lt "$pages" ] || page=$((pages > 0 ? pages - 1 : 0))
    printf '\033[2J\033[H%s: %d hits, page %d of %d\n' "$query" "$count" "$((pages > 0 ? page + 1 : 0))" "$pages"
    printf '%s\n' "$hits" | tail -n "+$((page * size + 1))" | head -n "$size"
    printf 'n next, p previous, q quit, or a word to search for: '
}

query=$(sessiond state get interactive search) || query=Router
page=$(sessiond state get interactive search --about | sed -n 's/.* page=\([0-9]*\).*/\1/p') || page=0
page=${page:-0}
while show && read -r word; do
    case $word in
    '') continue ;;
    n) page=$((page + 1)) ;;
    p) page=$((page > 0 ? page - 1 : 0)) ;;
    q) exit ;;
    *) query=$word page=0 ;;
    esac
    sessiond state put interactive search "$query" --kind query --size "$size" --page "$page"
done
