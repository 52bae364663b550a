# The project's commands. `make demo` and `make test` are all that a newcomer needs.
PYTHON ?= python3
VENV := .venv
SEALIFT := $(VENV)/bin/sealift
GROUP ?= build
TESTS_AT_ONCE ?= --numprocesses 3 --no-loadscope-reorder

.PHONY: help setup demo demo-stop test faults lint bench clean
help:
	@echo 'make demo        build the example platform, run it on this machine, print its address'
	@echo 'make demo-stop   stop it'
	@echo 'make test        the whole test suite'
	@echo 'make faults      every fault on heads as often as is promised, and all of phases: several hours'
	@echo 'make lint        ruff, mypy --strict, import contracts'
	@echo 'make bench       figures against named peers (GROUP=build, complete, heads, gap or phases)'
	@echo 'make setup       the environment in $(VENV), nothing else'

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml .ci/constraints.txt .ci/packages
	@.ci/packages python3-venv bubblewrap
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check -c .ci/constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	$(SEALIFT) build all
	$(SEALIFT) deploy --host local --yes

demo-stop: setup
	$(SEALIFT) stop

test: setup
	@.ci/packages age git gpg gpgv debian-archive-keyring openssh-client openssh-server nix-bin \
		chromium chromium-driver sudo systemd systemd-container mmdebstrap iproute2 nftables wrk
	$(VENV)/bin/python -m pytest $(TESTS_AT_ONCE)

faults: setup
	@.ci/packages openssh-client systemd-container mmdebstrap iproute2 nftables bubblewrap \
		chromium chromium-driver
	SEALIFT_FAULTS=full $(VENV)/bin/python -m pytest \
		tests/faults tests/phases tests/e2e/test_phases.py tests/deploy/install

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: setup
	@.ci/packages nix-bin openssh-client systemd systemd-container mmdebstrap iproute2 nftables wrk rsync zstd
	$(VENV)/bin/python -m benchmarks $(GROUP)

clean:
	rm -rf $(VENV) .sealift .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
