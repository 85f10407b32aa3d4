#!/bin/sh
# The smallest group: a data store, one host and one desk on this machine, as an ordinary user. It puts a card in,
# lets the session say something, and shows the desk's screen.
#
#   cargo build --release --workspace && PATH="$PWD/target/release:$PATH" examples/minimal-group.sh
set -eu
dir=$(mktemp -d /tmp/hotdesk-example.XXXXXX)
cd "$dir"
# All that was started goes with this script.
started=
trap 'kill $started 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

wait_for() { # FILE TEXT: until a program has said that it is ready
    for _ in $(seq 200); do
        if grep -q "$2" "$1" 2>/dev/null; then return; fi
        sleep 0.1
    done
    echo "waited in vain for \"$2\":" >&2
    cat "$1" >&2
    exit 1
}

groupmgr keygen keys
datastore serve --keys keys --dir store --listen 127.0.0.1:7110 > store.log 2>&1 &
started="$started $!"
wait_for store.log "data store ready"

groupmgr run --keys keys --store 127.0.0.1:7110 --name a --bind 127.21.1.1 --run-dir run --state-dir state > a.log 2>&1 &
started="$started $!"
wait_for a.log "ready host="

# Without a template a session is the login shell of whoever runs this, which may ask questions at its first start.
cat > template.toml <<END
[[service]]
name = "terminal"
command = ["/bin/sh", "-i"]
END
groupmgr template put default template.toml --run-dir run

dtu-emu boot --headless --serial 080020000021 --control control --ca keys/ca.pem --bind 127.21.200.1 > desk.log 2>&1 &
started="$started $!"
wait_for desk.log "shown"

authmgr card new ann.card
dtu-emu insert ann.card --control control
dtu-emu type --control control --enter 'echo "it is" there'
dtu-emu wait --control control --for "it is there" --timeout 20
dtu-emu screen --control control
