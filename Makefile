.DEFAULT_GOAL := help
.PHONY: help setup run test test-faults test-kills test-slurm rehearse bench bench-generate fuzz tables

SNAKEMAKE := .venv/bin/snakemake

help:
	@echo "make run     set up, then maps, tables and pictures of the embedded default"
	@echo "make test    set up, then all tests"
	@echo "make test-faults   twenty kills a stage, at random moments, and those of test-kills"
	@echo "make test-kills    thirty kills of whole runs, at random moments"
	@echo "make test-slurm    the embedded default and faults on a SLURM of one node; as root, writes /etc/slurm"
	@echo "make rehearse   the paper's grid in small: what each change of the config redoes, and that nothing old is left"
	@echo "make fuzz    10,000 changed files for all readers, figures printed"
	@echo "make tables  all LaTeX tables of results/ in one PDF, results/tables.pdf"
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

rehearse: setup
	.venv/bin/python -m tests.rehearsal results/bench

tables:
	.venv/bin/python -m tests.compiled results results/tables.pdf

bench: setup
	.venv/bin/python -m tests.bench.maps results/bench
	.venv/bin/python -m tests.bench.cache results/bench
	.venv/bin/python -m tests.bench.render results/bench
	.venv/bin/python -m tests.bench.scale results/bench
	.venv/bin/python -m tests.bench.grid results/bench
	.venv/bin/python -m tests.bench.attribution results/bench
	.venv/bin/python -m tests.bench.perturb results/bench

fuzz: setup
	OMP_NUM_THREADS=1 .venv/bin/python -m tests.fuzz 10000

# Not in `bench`, and without set-up: it runs on a GPU machine that has neither Snakemake nor TeX.
bench-generate:
	PATH="$$PWD/.venv/bin:$$PATH" python -m tests.bench.generate results/bench
