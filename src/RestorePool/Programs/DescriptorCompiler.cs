using Snapshots.Images.V1;

namespace Snapshots.RestorePool.Programs;

/// <summary>
/// Compiles the part of a clone program that rebuilds the frozen descriptor table and the memory objects that must be each clone's own.
/// <code>
/// 1. Move the received externals to the numbers where the application knows them.
/// 2. Make, fill and map the shared memory objects that no descriptor refers to, each through one short-lived descriptor.
/// 3. In the order of the lowest wanted number, create every other open file, give it its state, and bring it to its numbers.
/// 4. Bind the sockets that have path names, each over its path in the clone's own mount namespace.
/// 5. Register the epoll interests, each while the watched file is open at the number it was registered under.
/// 6. Close what only the program needed.
/// </code>
/// </summary>
/// <remarks>
/// Expects the clone in its own namespaces, its working directory entered, still with its privileges, and with RLIMIT_NOFILE above
/// <see cref="DescriptorStage.ControlDescriptor"/>. docs/descriptors.md says per kind what comes back and what does not.
/// </remarks>
public static class DescriptorCompiler
{
    /// <summary>The lowest number for the engine's control socket that no descriptor and no epoll interest of the image uses.</summary>
    public static int LowestControlDescriptor(ProcessImage process)
    {
        var highest = process.Descriptors.Select(entry => (int)entry.Fd).DefaultIfEmpty(-1).Max();
        foreach (var file in process.OpenFiles.Where(file => file.KindCase == OpenFile.KindOneofCase.Epoll))
            highest = Math.Max(highest, file.Epoll.Interests.Select(interest => (int)interest.Fd).DefaultIfEmpty(-1).Max());
        return Math.Max(highest + 1, ExternalPlan.For(process).Count);
    }

    /// <exception cref="InvalidDataException">The image contradicts itself.</exception>
    public static void Compile(DescriptorStage stage)
    {
        var script = new DescriptorScript(stage.Builder, stage.Process, stage.ControlDescriptor);
        ExternalCompiler.Compile(script, ExternalPlan.For(stage.Process));
        var memory = new SharedMemoryCompiler(stage, script);
        memory.CompileObjectsWithoutDescriptor();
        var paths = new PrivateSocketPaths(script);
        var files = new OpenFileCompiler(stage, script, memory, paths);
        foreach (var id in stage.Process.Descriptors.OrderBy(entry => entry.Fd).Select(entry => entry.OpenFile).Distinct())
            files.CreateAndPlace(id);
        paths.Compile();
        EpollCompiler.CompileInterests(script, stage.Process);
        script.CloseLeftovers();
        script.Verify();
    }
}
