#!/bin/sh
# A program of a session that reacts when its session is shown at a desk, and when it is not any more: here it notes it in the
# user's permanent data. Run it within a session, such as from a profile or as a service of a template.
set -eu
sessiond events | while read -r event rest; do
    case "$event" in
    connect) datastore put shown-at "${rest#dtu=}" ;;
    disconnect) datastore put shown-at nowhere ;;
    end) break ;;
    esac
done
