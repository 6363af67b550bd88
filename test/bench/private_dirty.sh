#!/bin/bash
# private_dirty.sh PID: kB of memory that a process has for itself and wrote to.
#
# Without shared memory: the kernel counts pages of shared_buffers that no other
# process has touched yet as private too. Only its own user and root may look.
awk '/^[0-9a-f]+-[0-9a-f]+ / { shared = $2 ~ /s$/ } /^Private_Dirty/ && !shared { kb += $2 }
	END { print "Private_Dirty:", kb, "kB" }' "/proc/$1/smaps"
