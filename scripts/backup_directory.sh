#!/usr/bin/env bash
# Copies a data directory that is in use: backup_directory.sh SOURCE TARGET [logs|objects].
#
# Somebody must hold a pin (`ReadHandle::pin`) on every shard in it, from before this begins until it ends: then no object
# that the copied logs refer to is deleted before it is copied. TARGET is a data directory that can be opened as it is. The
# logs come first, the objects behind them; with a third argument only that half is done. Where the logs are in PostgreSQL,
# run pg_dump in the place of the first half.
set -euo pipefail

attempts_max=20 # a log that is truncated while it is copied is copied again

fail() {
    echo "backup_directory: $1" >&2
    exit 1
}

[ $# -ge 2 ] || fail "usage: backup_directory.sh SOURCE TARGET [logs|objects]"
source=$1 target=$2 half=${3:-both}
[ -f "$source/timely-persist" ] || fail "$source is no data directory: it has no file 'timely-persist'"

# numbers FOLDER: the numbered files in it, in order. Files that are being written have other names.
numbers() {
    [ -d "$1" ] || return 0
    find "$1" -maxdepth 1 -type f -printf '%f\n' | grep -Ex '[0-9]{20}' | sort || true
}

# copy_log SHARD COPY: the boundary, then the entries from it to the newest; fails where some have gone meanwhile.
copy_log() {
    local shard=$1 copy=$2 below newest number first count entries=()
    rm -rf "$copy/boundary" "$copy/log"
    mkdir -p "$copy/boundary" "$copy/log"
    below=$(numbers "$shard/boundary" | tail -n 1)
    [ -z "$below" ] || cp -p "$shard/boundary/$below" "$copy/boundary/" 2>/dev/null || return 1
    # All entries up to this one were there when it was seen, or are truncated.
    newest=$(numbers "$shard/log" | tail -n 1)
    [ -n "$newest" ] || return 1
    for number in $(numbers "$shard/log"); do
        if [[ ! $number < ${below:-} ]] && [[ ! $number > $newest ]]; then
            entries+=("$shard/log/$number")
        fi
    done
    # In one go: a process for each would be slower than the log is truncated on a busy machine.
    cp -p -t "$copy/log" -- "${entries[@]}" 2>/dev/null || return 1
    count=${#entries[@]}
    first=$((10#${below:-0}))
    [ "$first" -ge 1 ] || first=1
    [ "$count" -eq $((10#$newest - first + 1)) ]
}

# copy_objects SHARD COPY: whatever is there. What is deleted meanwhile is of states before the pin.
copy_objects() {
    local shard=$1 copy=$2 name
    mkdir -p "$copy/blob"
    [ -d "$shard/blob" ] || return 0
    find "$shard/blob" -maxdepth 1 -type f ! -name '*#*' -printf '%f\n' | while read -r name; do
        cp -p "$shard/blob/$name" "$copy/blob/" 2>/dev/null || [ ! -e "$shard/blob/$name" ] ||
            fail "$shard/blob/$name cannot be copied"
    done
}

mkdir -p "$target"
cp -p "$source/timely-persist" "$target/"
# The limits that all processes on the store have alike: small objects that never change.
mkdir -p "$target/limits"
for number in $(numbers "$source/limits"); do
    cp -p "$source/limits/$number" "$target/limits/"
done
for shard in "$source"/shards/*/; do
    copy=$target/shards/$(basename "$shard")
    if [ "$half" != objects ] && [ -d "$shard/log" ]; then
        attempt=1
        until copy_log "$shard" "$copy"; do
            [ "$attempt" -lt "$attempts_max" ] || fail "the log in $shard is truncated faster than it can be copied"
            attempt=$((attempt + 1))
        done
    fi
    if [ "$half" != logs ]; then
        copy_objects "$shard" "$copy"
    fi
done
sync
