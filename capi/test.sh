#!/usr/bin/env bash
# Builds the C library, installs it, builds and runs the example in three ways, and tests the rest: under the
# sanitizers, under valgrind, through the scenarios. `capi/test.sh cost` measures a call. What this machine lacks
# is named, and with CI set it is an error.
set -euo pipefail
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-$PWD/../target}
work=$target/capi-tests
mkdir -p "$work"
calls=${CALLS:-100000}
warnings=(-std=c99 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Wpedantic -Werror)
libs=(-lpthread -lm -ldl)
lacks=0
lacking() {
    echo "not checked: this machine lacks $1"
    lacks=1
}
say() { printf -- '-- %s\n' "$*"; }
command -v timeout >/dev/null || timeout() { "${@:2}"; }

say "installed from the checkout"
rm -rf "$work/prefix" "$work/cmake" "$work"/{abuse,kept,storm,driver} # nothing of an earlier run is tested
(cd "$work" && "$OLDPWD/install.sh" prefix) # a relative path counts from where the caller is
[[ -f $work/prefix/include/peer_health.h ]] || { echo "a relative prefix went elsewhere"; exit 1; }
export PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig
release=$work/prefix/lib/libpeer_health_c

if [[ ${1-} == cost ]]; then
    cc -O2 "${warnings[@]}" -I"$work/prefix/include" benches/cost.c -o "$work/cost" "$release.a" "${libs[@]}"
    CAPI_COST=$work/cost cargo bench --quiet --profile c-library -p peer-health-capi --bench cost
    exit
fi

if [[ $(uname) == Linux ]]; then
    say "the library has the symbols of symbols.txt, and no others"
    nm -D --defined-only "$release.so" | awk '{print $3}' | LC_ALL=C sort >"$work/symbols.txt"
    diff -u symbols.txt "$work/symbols.txt" || { echo "if that is meant: cp $work/symbols.txt capi/symbols.txt"; exit 1; }
fi

say "the example, by the commands of README.md and of the guide as they are written"
if command -v pkg-config >/dev/null; then
    mkdir -p "$work/as-written"
    ln -sfn "$PWD" "$work/as-written/capi"
    for page in README.md ../doc/guide.md; do
        commands=$(awk '/^```/ { inside = /^```sh/; block = ""; next } inside { block = block $0 "\n" }
            inside && /^\.\/node/ { print block; exit }' "$page")
        [[ $commands == *install.sh* ]] || { echo "$page does not say how to install"; exit 1; }
        (cd "$work/as-written" && timeout 300 bash -euc "${commands//\$HOME/$work/home}")
    done
else
    lacking pkg-config
fi
cc "${warnings[@]}" -I"$work/prefix/include" examples/node.c "$release.a" "${libs[@]}" -o "$work/node_static"
timeout 10 "$work/node_static" >/dev/null # its own exit status says whether bob and carol are as they should be
if command -v cmake >/dev/null; then
    cmake -S examples -B "$work/cmake" -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null
    cmake --build "$work/cmake" >/dev/null
    for kind in shared static; do timeout 10 "$work/cmake/node_$kind" >/dev/null; done
else
    lacking cmake
fi
if command -v c++ >/dev/null; then
    echo '#include <peer_health.h>' >"$work/header.cc"
    c++ -Wall -Wextra -Werror -I"$work/prefix/include" -fsyntax-only "$work/header.cc"
else
    lacking "a C++ compiler: the header as C++"
fi

say "under the sanitizers: $calls calls from 8 threads, every bad argument, the scenarios"
cargo build --quiet -p peer-health-capi --features testing
testing=$work/libtesting.a
cp "$target/debug/libpeer_health_c.a" "$testing"
sanitize=(-g -fsanitize=address,undefined -fno-sanitize-recover=all -Iinclude)
for program in abuse kept storm driver; do
    cc "${warnings[@]}" "${sanitize[@]}" "tests/$program.c" "$testing" "${libs[@]}" -o "$work/$program" &
done
wait
timeout 60 "$work/abuse" 2>"$work/abuse.txt" || { cat "$work/abuse.txt"; exit 1; }
timeout 60 "$work/kept" # reads tests/exports
timeout 300 "$work/storm" "$calls"
CAPI_DRIVER=$work/driver cargo test --quiet -p peer-health-capi --features testing --test conformance --no-run
CAPI_DRIVER=$work/driver timeout 120 cargo test --quiet -p peer-health-capi --features testing \
    --test conformance -- --ignored --nocapture

say "under valgrind: a tenth of that, and every bad argument"
if command -v valgrind >/dev/null; then
    for program in abuse storm; do
        cc "${warnings[@]}" -g -Iinclude "tests/$program.c" "$testing" "${libs[@]}" -o "$work/$program-plain"
    done
    checked=(valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite,indirect,possible)
    timeout 300 "${checked[@]}" "$work/storm-plain" $((calls / 10))
    timeout 300 "${checked[@]}" "$work/abuse-plain" 2>"$work/valgrind.txt" || { cat "$work/valgrind.txt"; exit 1; }
else
    lacking valgrind
fi

((lacks == 0)) || [[ -z ${CI-} ]]
say "the C library passes"
