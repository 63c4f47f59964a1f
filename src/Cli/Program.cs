using Snapshots.Cli;

return await CommandLine.Run(args).ConfigureAwait(false);
