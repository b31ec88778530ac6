#!/bin/sh
# Puts the server into a folder that can be the root of an image: the program, the libraries that it is linked
# with, what their licences ask for, and which packages they came from, so that scanners know what to look up.
#   docker/collect_server.sh FOLDER
set -eu
to=$1
program=target/release/bulkhead
mkdir -p "$to/usr/local/bin" "$to/usr/share/doc/bulkhead" "$to/var/lib/dpkg/status.d"
strip -o "$to/usr/local/bin/bulkhead" "$program"
cp LICENSE LICENSE-APACHE LICENSE-MIT "$to/usr/share/doc/bulkhead/"
# "libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x…)", and without the arrow for the loader.
libraries=$(ldd "$program" | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*/\1/p')
for library in $libraries; do
  mkdir -p "$to$(dirname "$library")"
  # Not the link: what it points to has another name.
  cp -L "$library" "$to$library"
  # Scanners read one file a package; without this they would see no C library at all.
  package=$(dpkg -S "$library" | cut -d : -f 1)
  dpkg-query --status "$package" >"$to/var/lib/dpkg/status.d/$package"
  mkdir -p "$to/usr/share/doc/$package"
  cp -L "/usr/share/doc/$package/copyright" "$to/usr/share/doc/$package/"
done
mkdir -p "$to/etc"
cp -L /etc/os-release "$to/etc/"
# For the store of the relay; owned by the user that the server runs as.
mkdir -m 0700 "$to/data"
chown 65532:65532 "$to/data"
# Nothing else but the kernel is needed: a missing library shows here and not where it is run.
chroot "$to" /usr/local/bin/bulkhead --version
