#!/usr/bin/env bash
# Packs build/carry.tar.xz: what `bench_peers.sh --no-install` and `bench_scale.sh --no-install` need on a machine of
# this kind that has neither network nor packages: hocket, both MPIs, and their libraries but for the C
# library's own. Run it after one of these two, which build the programs. There:
#
#   tar -xJf carry.tar.xz && cd carry && scripts/bench_scale.sh --no-install
#
# and bring bench/results/* back, or build/bench/*.jsonl for --report here, where Python and gnuplot are.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/common.sh
source scripts/bench_common.sh

carry=build/carry
lib=$carry/root/lib

# The libraries of these programs, without those that any Linux has of its own.
libraries() {
    ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
        grep -vE '/(lib(c|m|dl|rt|pthread|resolv|util)\.so|ld-linux)'
}

rm -rf $carry
mkdir -p $carry/build/bin $carry/build/lib $carry/build/examples $carry/build/bench $carry/bench \
    $carry/tools $carry/root/bin $lib
cp $hocket $carry/build/bin/
cp -a build/lib/libhocket.so* $carry/build/lib/
cp build/examples/hello $carry/build/examples/
cp $BENCH/mpi-* $carry/build/bench/ 2>/dev/null || say "no MPI program was built; run scripts/bench_scale.sh once"
rm -f $carry/build/bench/*.log
cp -r scripts $carry/
cp -r bench/peers bench/report.py $carry/bench/
cp -r tools/hocket $carry/tools/

find_mpis
programs=($hocket build/lib/libhocket.so)
if [ -n "$openmpi_run" ]; then
    plugins=$(ompi_info --path pkglibdir --parsable | cut -d: -f3)
    help=$(ompi_info --path pkgdatadir --parsable | cut -d: -f3)
    cp -L "$openmpi_run" $carry/root/bin/mpirun.openmpi
    cp -L "$(command -v orted)" $carry/root/bin/orted
    cp -rL "$plugins" $carry/root/openmpi
    cp -rL "$help" $carry/root/openmpi-share
    programs+=("$openmpi_run" "$(command -v orted)" $BENCH/mpi-openmpi $carry/root/openmpi/*.so)
    # Open MPI 4 meets through PMIx, which has plugins of its own.
    pmix=$(ldd "$plugins"/mca_pmix_ext3x.so 2>/dev/null | awk '/libpmix/ { print $3 }')
    if [ -n "$pmix" ]; then
        pmix=$(dirname "$(readlink -f "$pmix")")
        cp -rL "$pmix/pmix" $carry/root/pmix
        programs+=($carry/root/pmix/*.so)
    fi
fi
if [ -n "$mpich_run" ]; then
    cp -L "$mpich_run" $carry/root/bin/mpirun.mpich
    cp -L "$(command -v hydra_pmi_proxy)" $carry/root/bin/
    programs+=("$mpich_run" "$(command -v hydra_pmi_proxy)" $BENCH/mpi-mpich)
fi
libraries "${programs[@]}" | while read -r library; do
    [[ $library == */libhocket* ]] || cp -L "$library" $lib/
done
git rev-parse --short HEAD >$carry/build/bench/commit
XZ_OPT='-1 -T0' tar -C build -cJf $carry.tar.xz carry
du -h $carry.tar.xz
