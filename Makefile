# The front door. `make` alone lists what there is.

# What `make microbench` runs.
FILTER ?= *

.PHONY: help build test bench microbench demo clean

help:
	@echo 'make build   build everything (Release)'
	@echo 'make test    install what the tests need, build, run every test; ends with "N passed, N failed"'
	@echo 'make demo    freeze a warm Python worker and run 200 clones of it side by side'
	@echo 'make bench   measure every example against its cold start; JSON in artifacts/bench'
	@echo 'make microbench   the hot paths that are computing and nothing else; short runs, FILTER=PATTERN for some of them'
	@echo 'make clean   remove everything that was built'

build:
	dotnet build Snapshots.sln -c Release -nologo -v quiet

test:
	scripts/test

bench:
	scripts/bench

microbench:
	dotnet run -c Release --project benchmarks/HotPaths -- --filter '$(FILTER)' --job short --artifacts artifacts/microbench

demo:
	./snapshots demo

clean:
	rm -rf artifacts
	find src tests benchmarks examples -type d \( -name bin -o -name obj \) -prune -exec rm -rf {} +
