using Snapshots.Images.V1;
using Snapshots.Linux.Proc;

namespace Snapshots.ImageFacts;

/// <summary>Credentials as /proc/PID/status tells them; securebits are not in it.</summary>
public static class CredentialsOf
{
    public static Credentials Process(ProcStatus status) => new()
    {
        Uids = { status.Uids },
        Gids = { status.Gids },
        Groups = { status.Groups },
        CapInheritable = status.CapInheritable,
        CapPermitted = status.CapPermitted,
        CapEffective = status.CapEffective,
        CapBounding = status.CapBounding,
        CapAmbient = status.CapAmbient,
    };
}
