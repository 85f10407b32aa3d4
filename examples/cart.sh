#!/bin/sh
# A shopping cart. How many units of a product there are is kept with the session as it is, the product itself as a
# reference to the data store. Both are put in one operation: another host finds both or none.
set -eu

show() {
    printf '\033[2J\033[HYour cart:\n'
    sessiond state ls application | sed -n 's/^units\.//p' | while read -r name; do
        product=$(sessiond state get application "product.$name")
        printf '%s of %s\n' "$(sessiond state get application "units.$name")" "$(datastore get "$product")"
    done
    printf 'a product and how many units, or q: '
}

add() {
    datastore put "product/$1" "the $1 of our catalogue"
    HOTDESK_OPERATION=$(sessiond state begin add)
    export HOTDESK_OPERATION
    sessiond state put application "units.$1" "$2"
    sessiond state put application "product.$1" "product/$1" --kind store
    sessiond state commit
    unset HOTDESK_OPERATION
}

while show && read -r name units; do
    case $name in
    '') continue ;;
    q) exit ;;
    *[!a-z0-9-]*) continue ;;
    esac
    add "$name" "${units:-1}"
done
