using System.Diagnostics;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;
using Snapshots.Programs;
using Snapshots.RestorePool.ForkDetection;
using Snapshots.RestorePool.Paging;
using Snapshots.RestorePool.Programs;

namespace Snapshots.RestorePool.Templates;

/// <summary>Builds templates: whole, with all of their memory, or lazy, to be filled when somebody touches it.</summary>
/// <remarks>Thread-safe.</remarks>
internal sealed class TemplateBuilder(RestoreOptions options)
{
    /// <exception cref="RestoreUnsupportedException">This host cannot run the snapshot.</exception>
    /// <exception cref="ProgramFailedException">The kernel refused a step; names the call and the object.</exception>
    /// <exception cref="ImageException">The image is damaged.</exception>
    public Template Build(SnapshotImage image, TemplateSource source) => BuildWhole(image, source.Name);

    private Template BuildWhole(SnapshotImage image, string name)
    {
        var clock = Stopwatch.StartNew();
        HostCheck.Require(image.Manifest, options.HostClocks);
        var process = image.Manifest.Processes[0];
        var forkDetection = ForkDetectionPlan.For(image.Manifest);
        var programs = CompiledPrograms.Compile(image.Manifest, forkDetection);
        var husk = programs.Start();
        try
        {
            AwaitReady(husk, programs, name);
            var loader = new PageLoader(image.Pages, husk.Pid, husk.PidFd);
            loader.Load(process, programs.Staging, programs.Contents, programs.Plan.Contents);
            ForkDetectionPatch.Apply(husk.Pid, forkDetection, process, programs.Plan.ForkIdentity.Start + ForkIdentityFunction.EntryOffset);
            husk.Send(stackalloc byte[sizeof(ulong)]);
            AwaitReady(husk, programs, name);
            return new Template(name, husk, programs, image, options, clock.Elapsed, loader.BytesLoaded);
        }
        catch
        {
            husk.Dispose();
            throw;
        }
    }

    /// <summary>
    /// A template that takes orders before its memory is there: what <paramref name="known"/> names is loaded, the rest comes when it is touched. A
    /// complete one when that leaves nothing.
    /// </summary>
    /// <param name="image">A use of its own; becomes the template's if that is lazy, and ends if not.</param>
    /// <exception cref="RestoreUnsupportedException">This host cannot run the snapshot.</exception>
    /// <exception cref="ProgramFailedException">The kernel refused a step; names the call and the object.</exception>
    /// <exception cref="ImageException">The image is damaged.</exception>
    public Template BuildLazy(ImageLease image, string name, WorkingSet? known, PageServer server)
    {
        try
        {
            var clock = Stopwatch.StartNew();
            var manifest = image.Image.Manifest;
            var eager = EagerPages.For(manifest.Processes[0], known);
            if (eager.Registered.Count == 0)
            {
                using (image)
                    return BuildWhole(image.Image, name);
            }
            if (KernelFeatures.Probe().Userfaultfd is { Available: false } missing)
                throw new RestoreUnsupportedException($"clones that run before their memory is there need userfaultfd, which this host refuses ({missing.Detail}): run with CAP_SYS_PTRACE, or load snapshots whole with --lazy-from never");
            using var contents = new EagerContents(manifest.Processes[0], eager, image.Image.Pages);
            // Reads files of the whole runtime, which nobody may have read since the host came up: beside the rest.
            var forkDetection = Task.Run(() => ForkDetectionPlan.For(manifest));
            HostCheck.Require(manifest, options.HostClocks);
            var programs = CompiledPrograms.Compile(manifest, forkDetection: null, layer: null, lazy: true);
            var husk = programs.Start();
            LazyMemory? memory = null;
            try
            {
                AwaitReady(husk, programs, name);
                var loader = new PageLoader(image.Image.Pages, husk.Pid, husk.PidFd);
                loader.LoadContents(programs.Contents, programs.Plan.Contents);
                memory = new LazyMemory(server, image, OpenDoor(husk, eager), eager.Missing);
                var loaded = loader.BytesLoaded + contents.WriteTo(husk.Pid, memory.Door);
                ForkDetectionPatch.Apply(husk.Pid, forkDetection.GetAwaiter().GetResult(), manifest.Processes[0], programs.Plan.ForkIdentity.Start + ForkIdentityFunction.EntryOffset);
                husk.Send(stackalloc byte[sizeof(ulong)]);
                AwaitReady(husk, programs, name);
                return new Template(name, husk, programs, image.Image, options, clock.Elapsed, loaded) { Lazy = memory };
            }
            catch
            {
                husk.Dispose();
                memory?.CloseTemplate();
                throw;
            }
        }
        catch
        {
            image.Dispose();
            throw;
        }
    }

    private static Userfaultfd OpenDoor(Husk husk, EagerPages eager)
    {
        var door = new Userfaultfd(Pidfd.GetDescriptor(husk.PidFd, MemoryCompiler.UserfaultDescriptor));
        try
        {
            door.Enable();
            foreach (var range in eager.Registered)
                door.Register(range);
            // What does not succeed costs a fault later.
            foreach (var range in eager.Zeros)
                _ = door.Zero(range, out _);
            return door;
        }
        catch
        {
            door.Dispose();
            throw;
        }
    }

    internal static void AwaitReady(Husk husk, CompiledPrograms programs, string name)
    {
        var report = husk.ReceiveReport();
        if (report.Tag != ReportTag.Ready)
            throw new ProgramFailedException($"building the template of {name}", programs.Memory, report);
    }
}
