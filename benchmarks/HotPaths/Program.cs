using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Running;

// The arguments are BenchmarkDotNet's own: --filter '*Compile*', --job short, --list flat.
// In this process: the project that would be generated otherwise knows neither this repository's names nor its rules for builds.
_ = BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(["--inProcess", .. args], DefaultConfig.Instance.WithOptions(ConfigOptions.JoinSummary));
