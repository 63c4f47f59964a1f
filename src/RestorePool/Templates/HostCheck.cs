using System.Globalization;
using Snapshots.ImageFacts;
using Snapshots.Images;
using Snapshots.Images.V1;
using Snapshots.Linux;
using Snapshots.Linux.Syscalls;

namespace Snapshots.RestorePool.Templates;

/// <summary>Refuses, before anything is built, a snapshot that this host cannot run: other CPU features, another vDSO, a mapped file that changed, clocks that cannot be set.</summary>
internal static class HostCheck
{
    /// <exception cref="RestoreUnsupportedException">Lists everything that stands against it.</exception>
    public static void Require(Manifest manifest, bool hostClocks)
    {
        var problems = FingerprintCheck.Compare(manifest.Host, HostFingerprints.Current()).Select(mismatch => mismatch.ToString())
            .Concat(MappedFiles(manifest).Select(Changed).OfType<string>())
            .Concat(hostClocks || manifest.Clocks is null ? [] : Clocks())
            .ToList();
        if (problems.Count > 0)
            throw new RestoreUnsupportedException($"this host cannot run the snapshot:{Environment.NewLine}{string.Join(Environment.NewLine, problems)}");
    }

    private static IEnumerable<string> Clocks()
    {
        if (!Capabilities.Has(Capability.SystemTime))
            yield return $"clocks: letting them go on where they stood needs {Capabilities.NameOf(Capability.SystemTime)}. Grant it, or give clones the host's clocks with --host-clocks";
        if (!File.Exists("/proc/self/ns/time"))
            yield return "clocks: this kernel has no time namespaces (Linux 5.6, CONFIG_TIME_NS). Give clones the host's clocks with --host-clocks";
    }

    private static IEnumerable<FileIdentity> MappedFiles(Manifest manifest) =>
        manifest.Processes
            .SelectMany(process => process.Mappings)
            .Where(mapping => mapping.Kind is MappingKind.PrivateFile or MappingKind.SharedFile)
            .Select(mapping => mapping.File)
            .Concat(manifest.Processes.Select(process => process.ExeFile))
            .Distinct()
            .Select(index => manifest.Files[(int)index]);

    private static string? Changed(FileIdentity file)
    {
        const string Cure = "restore that file, or create the snapshot anew";
        if (FileStatus.At(file.Path, followLast: true, out var status) is not Errno.None and var errno)
            return $"mapped file {file.Path}: {errno}. {Cure}";
        if (status.SizeBytes != file.SizeBytes)
            return string.Create(CultureInfo.InvariantCulture, $"mapped file {file.Path}: it has {status.SizeBytes} bytes, the snapshot saw {file.SizeBytes}. {Cure}");
        return status.ModifiedNanoseconds != file.MtimeNs ? $"mapped file {file.Path}: it was modified since the snapshot. {Cure}" : null;
    }
}
