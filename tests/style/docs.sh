#!/bin/bash
# docs/configuration.md is what tools/config_table.py makes of the schema. Usage: docs.sh SOURCE_DIR
cd "$1" || exit 1
if python3 tools/config_table.py | diff - docs/configuration.md; then
    echo "1 passed, 0 failed"
else
    echo "stale: python3 tools/config_table.py > docs/configuration.md"
    echo "0 passed, 1 failed"
    exit 1
fi
