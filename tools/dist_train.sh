#!/bin/bash
# Train with several processes, one a GPU; without GPUs they share the processor.
#
#   tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]
#   tools/dist_train.sh configs/deeplabv3_focaldice.py 4 --data-root data/cityscapes
#
# --batch-size is that of each process. On several machines give PROCESSES of one, and the same command to each:
#
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=first.machine tools/dist_train.sh CONFIG 4    # on the first
#   NNODES=2 NODE_RANK=1 MASTER_ADDR=first.machine tools/dist_train.sh CONFIG 4    # on the second
set -eu
here=$(dirname "$0")
source "$here/_torchrun.sh"
if [[ $# -lt 2 || ! $2 =~ ^[1-9][0-9]*$ ]]; then usage; fi
launch "$2" "$here/train.py" "$1" "${@:3}"
