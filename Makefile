.DEFAULT_GOAL := help
.PHONY: help setup run test test-faults test-kills test-slurm test-real rehearse bench bench-generate docs docs-images fuzz tables test-versions

SNAKEMAKE := .venv/bin/snakemake

help:
	@echo "make run     set up, then maps, tables and pictures of the embedded default"
	@echo "make test    set up, then all tests"
	@echo "make test-faults   twenty kills a stage, at random moments, and those of test-kills"
	@echo "make test-kills    thirty kills of whole runs, at random moments"
	@echo "make test-slurm    the embedded default and faults on a SLURM of one node; as root, writes /etc/slurm"
	@echo "make test-real     files of more public checkpoints with random weights: grids, words, painting"
	@echo "make test-versions   the tests with the lowest versions allowed, and with Python 3.12 and 3.13"
	@echo "make rehearse   the paper's grid in small: what each change of the config redoes, and that nothing old is left"
	@echo "make fuzz    10,000 changed files for all readers, figures printed"
	@echo "make tables  all LaTeX tables of results/ in one PDF, results/tables.pdf"
	@echo "make docs    the documentation as a site, results/docs"
	@echo "make docs-images   the tutorial's pictures, by its own commands"
	@echo "make bench   speed beside plain loops, figures into results/bench"
	@echo "make bench-generate   the same for generation: full-size models on a GPU, else the embedded one"

setup:
	@bash envs/setup.sh

run: setup
	@$(SNAKEMAKE) --quiet rules reason host --report results/snakemake.html --report-after-run
	@echo
	@echo "Look at   results/report/index.html                          every answer: hover over its words"
	@echo "          results/tables/index.html                          all tables, published numbers beside ours"
	@echo "          results/emoji/tiny-qwen2-vl/figures                methods side by side, scores, failures"
	@echo "          results/emoji/tiny-qwen2-vl/render/*/sheet.png     every token of an answer over its picture"
	@echo "          results/emoji/tiny-qwen2-vl/tables/ablation.md     the table of the paper, on emoji scenes"
	@echo "          results/snakemake.html                             the tables, figures and run times in one file"

test:
	@bash envs/setup.sh chromium chromium-driver
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/snakefmt --check Snakefile workflow
	.venv/bin/snakemake --lint
	OMP_WAIT_POLICY=passive .venv/bin/python -m pytest

test-faults: setup
	OMP_WAIT_POLICY=passive .venv/bin/python -m pytest -m faults -s tests

test-kills: setup
	OMP_WAIT_POLICY=passive .venv/bin/python -m pytest -m faults -s tests/workflow/test_kills.py

test-slurm:
	@bash envs/setup.sh slurmctld slurmd slurm-client munge
	OMP_WAIT_POLICY=passive .venv/bin/python -m pytest -m slurm -s tests/slurm

test-real: setup
	OMP_WAIT_POLICY=passive .venv/bin/python -m pytest -m real tests/test_real_checkpoints.py

# What pyproject.toml promises beside the lock: its lowest versions, and the newer Pythons that are on this machine.
EXTRAS := eval,engine,peft,smolvlm,gemma3n,workflow,slurm,quant,demo,docs,test
test-versions: test-with-lowest test-with-3.12 test-with-3.13
test-with-%: setup
	.venv/bin/uv venv --quiet --clear --no-python-downloads --python $(if $(filter lowest,$*),3.11,$*) .venvs/$*
	.venv/bin/uv pip install --quiet --python .venvs/$* $(if $(filter lowest,$*),--resolution lowest-direct) -e '.[$(EXTRAS)]'
	OMP_WAIT_POLICY=passive .venvs/$*/bin/python -m pytest -m "not faults and not slurm and not real"

rehearse: setup
	.venv/bin/python -m tests.rehearsal results/bench

tables:
	.venv/bin/python -m tests.compiled results results/tables.pdf

docs: setup
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict
	@echo "Open   results/docs/index.html; with a search: .venv/bin/python -m http.server --directory results/docs"

docs-images: setup
	.venv/bin/python -m tests.documents

bench: setup
	.venv/bin/python -m tests.bench.maps results/bench
	.venv/bin/python -m tests.bench.cache results/bench
	.venv/bin/python -m tests.bench.render results/bench
	.venv/bin/python -m tests.bench.scale results/bench
	.venv/bin/python -m tests.bench.grid results/bench
	.venv/bin/python -m tests.bench.attribution results/bench
	.venv/bin/python -m tests.bench.perturb results/bench
	.venv/bin/python -m tests.bench.page results/bench

fuzz: setup
	OMP_NUM_THREADS=1 .venv/bin/python -m tests.fuzz 10000

# Not in `bench`, and without set-up: it runs on a GPU machine that has neither Snakemake nor TeX.
bench-generate:
	PATH="$$PWD/.venv/bin:$$PATH" python -m tests.bench.generate results/bench
