# `make` lists what there is to do. Every target makes its own virtual environment, .venv, when it is missing
# or older than the list of packages in pyproject.toml.
.DEFAULT_GOAL := help
.PHONY: help run test soak nightly lint fuzz lab app bench cascadebench engines docs data imagenet zoo notebooks

BIN := .venv/bin
READY := .venv/.installed
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

help: ## list the targets
	@grep -hE '^[a-z]+:.* ## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.* ## (.*)/make \1|\2/' | column -t -s '|' 2>/dev/null \
		|| grep -hE '^[a-z]+:.* ## ' $(MAKEFILE_LIST)

run: $(READY) ## run all notebooks on the bundled data; HTML report in build/report (ARGS="-p split test" passes on)
	$(BIN)/python notebooks/tools/report/run.py $(ARGS)

# A worker a core, so one thread a worker: torch's threads wait for one another by spinning, minutes where cores are shared.
# The types are checked while the tests run; both must pass. The kernels are compiled once, not in every worker.
test: $(READY) ## lint, the tests, and the lessons at their quick parameters under nbval
	$(call FORMAT)
	@mkdir -p build
	@$(BIN)/mypy > build/mypy.txt 2>&1 & types=$$!; \
	$(BIN)/python -c 'import cascadelib; cascadelib.warm()'; \
	CASCADELIB_QUICK=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder \
		$(ARGS); tests=$$?; wait $$types; typed=$$?; cat build/mypy.txt; exit $$((tests | typed))

soak: $(READY) ## what CI runs beside: the paper's notebooks, other parameters, packages, kills
	$(call TIER,soak)

nightly: $(READY) ## what a schedule runs: changed results, the rehearsal, planted worlds, simulated levels, live lessons
	$(call TIER,nightly)

define TIER
	CASCADELIB_QUICK=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m $(1) -n auto --dist loadfile \
		--no-loadscope-reorder $(ARGS)
endef

define FORMAT
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
endef

lint: $(READY) ## the static checks: ruff, the rule of imports, types
	$(call FORMAT)
	$(BIN)/mypy

fuzz: $(READY) ## damage stores, cascade files and tables for longer than the tests do (ARGS="--minutes 60 --seed 7")
	$(BIN)/python tests/fuzz.py $(ARGS)

lab: $(READY) ## open JupyterLab at the first notebook
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) \
		--ServerApp.root_dir="$(CURDIR)" --FileCheckpoints.checkpoint_dir="$(CURDIR)/build/checkpoints" \
		$(firstword $(sort $(wildcard notebooks/*.ipynb)))

app: $(READY) ## write the explorer of the bundled images as one page, build/explorer.html, and open it (ARGS="--no-browser …")
	$(BIN)/python notebooks/tools/report/app.py $(ARGS)

bench: $(READY) ## run the benchmarks; rewrites benchmarks/results.md (ARGS="--quick" for a look)
	$(BIN)/python benchmarks/run.py $(ARGS)

# The peers have an environment of their own; its packages stand in benchmarks/bench/requirements.txt.
PEERS := build/cascadebench/venv
cascadebench: $(PEERS)/.installed ## our rules and others' on the same score files and promises (ARGS="--data FOLDER", ARGS=--quick)
	OMP_NUM_THREADS=1 $(PEERS)/bin/python benchmarks/bench/run.py $(ARGS)

# Engines have an environment of their own, too.
ENGINES := build/engines/venv
engines: $(ENGINES)/.installed ## run the examples of LitServe, Ray Serve and LiteLLM, and compare them with Policy.run (ARGS="ray_serve")
	$(ENGINES)/bin/python benchmarks/engines.py $(ARGS)

docs: $(READY) ## build the site into build/docs, strictly: no broken link
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo 'Site: build/docs/index.html'

data: $(if $(RAW),$(READY)) ## how to redo the bundled data; RAW=folder with the four IDX files does it (hours)
ifdef RAW
	$(BIN)/python data/fashion-mnist/split.py --raw $(RAW)
	$(BIN)/python data/fashion-mnist/train.py --raw $(RAW)
	$(BIN)/python data/fashion-mnist/extract.py
	$(BIN)/python data/fashion-mnist/shift.py
else
	@echo 'The bundled data is committed. To redo it from a folder with the four IDX files of Fashion-MNIST'
	@echo '(Debian: apt-get install dataset-fashion-mnist, then /usr/share/datasets/fashion-mnist):'
	@echo '    $(BIN)/python data/fashion-mnist/split.py --raw FOLDER'
	@echo '    $(BIN)/python data/fashion-mnist/train.py --raw FOLDER'
	@echo '    $(BIN)/python data/fashion-mnist/extract.py'
	@echo '    $(BIN)/python data/fashion-mnist/shift.py'
	@echo 'or all at once: make data RAW=FOLDER'
endif

# OUT: where logits go; V2: folder of ImageNetV2, what is held out; GPUS: so many processes, one each; TABLE: whose fronts
# name the models (that of 2022); PRESET: the notebooks' parameters, the paper's (empty: their own, and without V2 every
# other image is held out); ARGS: for extract.py, such as "--models … --checkpoints …". LOGITS: a folder of stores that are
# there already (data/imagenet-1k/README.md has the layout), instead of images; ARGS then goes to run_notebooks.py
OUT ?= build/imagenet
PRESET ?= data/imagenet-1k/paper.yml
NOTEBOOKS_ON = $(BIN)/python data/imagenet-1k/run_notebooks.py $(1) $(if $(PRESET),--preset $(PRESET))
imagenet: $(if $(IMAGES)$(LOGITS),$(READY)) ## the paper's study on your ImageNet: IMAGES=folder extracts first, LOGITS=folder has stores already
ifdef LOGITS
	$(call NOTEBOOKS_ON,$(LOGITS)) $(ARGS)
else ifdef IMAGES
	$(BIN)/$(if $(GPUS),torchrun --standalone --nproc-per-node=$(GPUS),python) data/imagenet-1k/extract.py \
		--images $(IMAGES) --out $(OUT) $(if $(PRESET),--whole) $(if $(V2),--v2 $(V2)) $(if $(TABLE),--table $(TABLE)) $(ARGS)
	$(call NOTEBOOKS_ON,$(OUT))
else
	@echo 'Name a folder with the labelled images (class folders, or flat with --labels in ARGS):'
	@echo '    make imagenet IMAGES=FOLDER [V2=FOLDER] [OUT=build/imagenet] [GPUS=8] [TABLE=build/zoo/models.csv] [PRESET=] \'
	@echo '        [ARGS="--models resnet50.a1_in1k …"]'
	@echo 'or a folder with stores of logits, val and whichever there are of held_out, test and glue/…:'
	@echo '    make imagenet LOGITS=FOLDER [PRESET=] [ARGS="02 05 -p prominence 0.5"]'
	@echo 'To try it without ImageNet: $(BIN)/python data/imagenet-1k/stand_in.py build/stand-in makes images,'
	@echo '    $(BIN)/python data/imagenet-1k/rehearsal.py build/rehearsal logits with planted truth.'
endif

# RESULTS: folder with timm's results/; without one those of 2026-01-06 are downloaded
zoo: $(READY) ## the table of today's timm (RESULTS=folder), and its fronts (ARGS="--near 1e9" counts all)
	$(BIN)/python data/imagenet-1k/tables.py $(if $(RESULTS),--tables $(RESULTS),--today) --near 1.1 \
		--out build/zoo/models.csv $(ARGS)

notebooks: $(READY) ## execute the notebooks again and rewrite their committed outputs (draws with Chrome or Chromium)
	$(BIN)/python notebooks/tools/report/run.py --rewrite $(ARGS)
	$(BIN)/python .github/explorer.py
	$(BIN)/python docs/readme_numbers.py
	$(BIN)/python docs/guarantees.py

# The kernels are compiled from the core alone, while the other packages come; where that fails, the first search does it.
$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo 'Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python'; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	$(BIN)/python -m cascadelib warm >/dev/null 2>&1 & \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,test]'; installed=$$?; wait; exit $$installed
	@touch $@

$(PEERS)/.installed: benchmarks/bench/requirements.txt pyproject.toml
	test -x $(PEERS)/bin/pip || $(PYTHON) -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -e . -r benchmarks/bench/requirements.txt
	@touch $@

$(ENGINES)/.installed: examples/requirements-engines.txt pyproject.toml
	test -x $(ENGINES)/bin/pip || $(PYTHON) -m venv --clear $(ENGINES)
	$(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check -e . -r examples/requirements-engines.txt
	@touch $@
