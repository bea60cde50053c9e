#!/usr/bin/env bash
# Builds the library and installs it: capi/install.sh PREFIX. Then `pkg-config peer-health` and CMake's
# `find_package(PeerHealth)` find it there.
set -euo pipefail
prefix=${1:?"capi/install.sh PREFIX"}
mkdir -p "$prefix"
prefix=$(CDPATH='' cd -- "$prefix" && pwd) # it counts from where the caller is
cd "$(dirname "$0")"
cargo build --profile c-library --quiet -p peer-health-capi
target=${CARGO_TARGET_DIR:-../target}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
# What the static library needs beside itself: `rustc --print native-static-libs` names it.
libs=${PEER_HEALTH_LIBS:--lpthread -lm -ldl}

mkdir -p "$prefix"/{include,lib/pkgconfig,lib/cmake/PeerHealth}
install -m 644 include/peer_health.h "$prefix/include"
install -m 644 "$target/c-library/libpeer_health_c.a" "$prefix/lib"
if [[ $(uname) == Darwin ]]; then
    shared=libpeer_health_c.dylib
    install -m 755 "$target/c-library/$shared" "$prefix/lib"
    install_name_tool -id "$prefix/lib/$shared" "$prefix/lib/$shared"
else
    shared=libpeer_health_c.so
    install -m 755 "$target/c-library/$shared" "$prefix/lib/$shared.1"
    ln -sf "$shared.1" "$prefix/lib/$shared"
fi

cat >"$prefix/lib/pkgconfig/peer-health.pc" <<END
prefix=\${pcfiledir}/../..
Name: peer-health
Description: One circuit breaker for each peer of a peer-to-peer node
Version: $version
Cflags: -I\${prefix}/include
Libs: -L\${prefix}/lib -lpeer_health_c
Libs.private: $libs
END

cat >"$prefix/lib/cmake/PeerHealth/PeerHealthConfig.cmake" <<END
get_filename_component(_prefix "\${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET PeerHealth::shared)
  add_library(PeerHealth::shared SHARED IMPORTED)
  set_target_properties(PeerHealth::shared PROPERTIES
    IMPORTED_LOCATION "\${_prefix}/lib/$shared"
    INTERFACE_INCLUDE_DIRECTORIES "\${_prefix}/include")
  add_library(PeerHealth::static STATIC IMPORTED)
  set_target_properties(PeerHealth::static PROPERTIES
    IMPORTED_LOCATION "\${_prefix}/lib/libpeer_health_c.a"
    INTERFACE_INCLUDE_DIRECTORIES "\${_prefix}/include"
    INTERFACE_LINK_LIBRARIES "$libs")
endif()
END
cat >"$prefix/lib/cmake/PeerHealth/PeerHealthConfigVersion.cmake" <<END
set(PACKAGE_VERSION "$version")
if(PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE FALSE)
else()
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
END
echo "installed in $prefix"
