#!/bin/bash
# Evaluate a checkpoint with several processes; the scores are those of one.
#
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of tools/test.py]
#   tools/dist_test.sh configs/deeplabv3_focaldice.py best.pth 4 --data-root data/cityscapes
#
# On several machines: NNODES, NODE_RANK and MASTER_ADDR as for dist_train.sh.
set -eu
here=$(dirname "$0")
source "$here/_torchrun.sh"
if [[ $# -lt 3 || ! $3 =~ ^[1-9][0-9]*$ ]]; then usage; fi
launch "$3" "$here/test.py" "$1" "$2" "${@:4}"
