namespace Snapshots.Sandboxes;

/// <summary>Finds the program of a command as execvp(3) does.</summary>
internal static class ExecutablePath
{
    private const string DefaultSearchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    public static string Resolve(SpawnRequest request)
    {
        if (request.Command.Count == 0)
            throw new SpawnException("the command is empty; give the program to start and its arguments");
        var name = request.Command[0];
        if (!Directory.Exists(request.WorkingDirectory))
            throw new SpawnException($"the working directory {request.WorkingDirectory} does not exist");
        if (name.Contains('/', StringComparison.Ordinal))
            return Checked(Path.GetFullPath(name, request.WorkingDirectory));
        foreach (var directory in SearchPath(request.Environment).Split(':', StringSplitOptions.RemoveEmptyEntries))
        {
            var candidate = Path.GetFullPath(Path.Combine(directory, name), request.WorkingDirectory);
            if (IsExecutable(candidate))
                return candidate;
        }
        throw new SpawnException($"{name} is not in PATH; give its full path, or set PATH for the worker");
    }

    private static string Checked(string path)
    {
        if (!File.Exists(path))
            throw new SpawnException($"{path} does not exist");
        return IsExecutable(path) ? path : throw new SpawnException($"{path} is not executable; chmod +x it, or name its interpreter first");
    }

    private static bool IsExecutable(string path) =>
        File.Exists(path) && (File.GetUnixFileMode(path) & (UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute)) != 0;

    private static string SearchPath(IReadOnlyList<string> environment)
    {
        const string Prefix = "PATH=";
        var setting = environment.LastOrDefault(variable => variable.StartsWith(Prefix, StringComparison.Ordinal));
        return setting is null ? DefaultSearchPath : setting[Prefix.Length..];
    }
}
