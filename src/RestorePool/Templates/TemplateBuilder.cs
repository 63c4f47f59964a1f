using System.Diagnostics;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Programs;
using Snapshots.RestorePool.ForkDetection;
using Snapshots.RestorePool.Programs;

namespace Snapshots.RestorePool.Templates;

/// <summary>Builds templates: from an image alone, all of its memory at once.</summary>
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

    internal static void AwaitReady(Husk husk, CompiledPrograms programs, string name)
    {
        var report = husk.ReceiveReport();
        if (report.Tag != ReportTag.Ready)
            throw new ProgramFailedException($"building the template of {name}", programs.Memory, report);
    }
}
