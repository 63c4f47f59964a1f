using System.CommandLine;
using System.CommandLine.Parsing;
using Snapshots.Cli.Json;
using Snapshots.Cli.Text;
using Snapshots.Host;
using Snapshots.PageStore;
using Snapshots.PageStore.Remote;

namespace Snapshots.Cli.Commands;

/// <summary><c>snapshots init</c>: makes a store, and says where its packs lie.</summary>
internal static class InitCommand
{
    private static readonly Option<string?> Packs = new("--packs")
    {
        Description = "Keep packs and page maps in an object store, below a prefix that is this store's alone (default: in the store's directory)",
        HelpName = "s3://BUCKET/PREFIX",
    };

    private static readonly Option<string?> Endpoint = new("--endpoint")
    {
        Description = "Where the object store answers, when it is not that of the region",
        HelpName = "URL",
    };

    private static readonly Option<string> Region = new("--region")
    {
        Description = $"Region that requests are signed for (default: {PackPlacement.DefaultRegion})",
        HelpName = "NAME",
        DefaultValueFactory = _ => PackPlacement.DefaultRegion,
    };

    private static readonly Option<string> Cache = new("--cache")
    {
        Description = "Size limit of the disk cache before the object store (default: 10GiB)",
        HelpName = "SIZE",
        DefaultValueFactory = _ => $"{PageStoreLimits.DefaultCacheBytes >> 30}GiB",
    };

    public static Command Create()
    {
        var command = new Command("init", "Make a store; with --packs its packs lie in an S3-compatible object store") { Packs, Endpoint, Region, Cache };
        command.Validators.Add(Validate);
        command.SetBody(Run);
        return command;
    }

    private static void Validate(CommandResult result)
    {
        if (result.Words(Packs) is null && (result.Words(Endpoint) ?? result.Words(Region) ?? result.Words(Cache)) is not null)
            result.AddError("--endpoint, --region and --cache say more about --packs, which is missing");
        if (result.Words(Cache) is { } size && !Sizes.TryParse(size, out _))
            result.AddError($"--cache \"{size}\" is no size: use {Sizes.Syntax}");
    }

    private static int Run(Invocation invocation)
    {
        var placement = invocation.Parsed.GetValue(Packs) is { } address ? Place(invocation, address) : HostStore.OpenWhole(invocation.StoreDirectory).Placement;
        var report = new InitialisedStore(invocation.StoreDirectory, placement?.Address, placement?.Endpoint?.GetLeftPart(UriPartial.Authority), placement?.Region, placement?.CacheBytes);
        if (invocation.Json)
            Invocation.PrintJson(report, CliJsonContext.Default.InitialisedStore);
        else
            Console.Out.WriteLine(placement is null ? $"{report.Store} keeps its packs itself" : $"{report.Store} keeps its packs in {placement.Address}, and up to {Units.Bytes(placement.CacheBytes)} of them here too");
        return ExitCodes.Ok;
    }

    private static PackPlacement Place(Invocation invocation, string address)
    {
        Sizes.TryParse(invocation.Parsed.GetRequiredValue(Cache), out var cacheBytes);
        PackPlacement wanted;
        try
        {
            wanted = PackPlacement.Parse(address, invocation.Parsed.GetValue(Endpoint), invocation.Parsed.GetRequiredValue(Region), cacheBytes);
        }
        catch (Images.ImageException wrong)
        {
            throw CliException.Usage(wrong.Message);
        }
        return StoreSetup.Place(invocation.StoreDirectory, HostStore.Files, wanted);
    }
}
