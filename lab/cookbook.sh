# The disks of the cookbook under the names that it has: sda, which no recipe names; sdb, a disk; sdc, a stick with the serial number STICK7; sdd, of which ten
# sectors cannot be read. The kernel names disks in the order in which it finds them, so each is looked for when the one before has its name.
# The modules scsi_mod, sd_mod and sg are loaded.
wait_for_node() {
    for _ in $(seq 1200); do
        if test -e "$1"; then return; fi
        sleep 0.1
    done
    echo "120 s are over, and there is no $1"
    return 1
}
scan=/sys/module/scsi_mod/parameters/scan
# Without the end of the line, for which that has no room.
printf manual > "$scan"
modprobe virtio_scsi
host=$(ls -d /sys/class/scsi_host/host* | tail -n 1)
for disk in 0 1 2; do
    echo "0 $disk 0" > "$host/scan"
    wait_for_node "/dev/sd$(echo $disk | tr 012 abc)"
done
printf sync > "$scan"
modprobe scsi_debug dev_size_mb=16 opts=2
wait_for_node /dev/sdd
wait_for_node /dev/ng0n1
wait_for_node /dev/nvme0n1
